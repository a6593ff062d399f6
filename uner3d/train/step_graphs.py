"""Training steps recorded once and replayed: on a GPU a step is hundreds of small kernels, and launching them one by
one from Python takes the host ten times as long as the device takes to run them."""

from __future__ import annotations

import functools
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from uner3d.device import upload
from uner3d.model.field import Sources, octave_factors

from .photos import PhotoSet
from .schedule import Stage

KEPT = 4  # recordings; each holds the memory of a step
FOLLOWED = ("uniform", "geometric", "prior_width")  # numbers of a stage that change between steps, as octaves do


@dataclass
class StepInputs:
    """What a step reads that changes from group to group, on the device of the fit: photos at the stage's resolution,
    numbers (T,) of the target views, encoded sources, the stage and the names of the loss terms that count in it."""

    photos: PhotoSet
    targets: Tensor
    sources: Sources
    stage: Stage
    active: frozenset[str]


StepResult = tuple[tuple[str, ...], Tensor]  # names and values (n,) of what a step reports
Step = Callable[[StepInputs], StepResult]
Record = Callable[[Callable[[], StepResult], torch.Generator], tuple[StepResult, Callable[[], StepResult]]]


def record_cuda_graph(
    step: Callable[[], StepResult], generator: torch.Generator
) -> tuple[StepResult, Callable[[], StepResult]]:
    """Run a step, which makes what is made once, then record another one; the first one's result, and the replay."""
    with torch.cuda.device(generator.device):
        current, side = torch.cuda.current_stream(), _side_stream(generator.device)
        side.wait_stream(current)
        with torch.cuda.stream(side):
            first = step()
        current.wait_stream(side)
        first[1].record_stream(current)
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(generator)  # so that every replay goes on in its random numbers
        used = (generator, torch.cuda.default_generators[torch.cuda.current_device()])
        states = [one.get_state() for one in used]
        try:
            with torch.cuda.graph(graph, stream=side):
                names, values = step()
        except BaseException:
            # A capture that fails leaves its stream current and its generators waiting for the end of the capture.
            torch.cuda.set_stream(current)
            for one, state in zip(used, states, strict=True):
                fresh = torch.Generator(one.device)
                fresh.set_state(state)
                one.graphsafe_set_state(fresh.graphsafe_get_state())
            raise

    def replay() -> StepResult:
        graph.replay()
        return names, values.clone()

    return first, replay


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all recordings on a device: libraries keep a workspace for every stream they have seen."""
    return torch.cuda.Stream(device)


class StepGraphs:
    """Steps by what they are made of: loss terms, numbers of views, resolution. The first group of a kind runs as it
    is, from the second on it is replayed from buffers of its own, into which each group's inputs are copied.

    The device's tensors that a step changes (weights, moments, density grid) must stay where they are; ``clear``
    forgets all recordings where they do not. ``record`` is for tests.
    """

    def __init__(self, generator: torch.Generator, n_octaves: int, record: Record = record_cuda_graph) -> None:
        self.generator, self.n_octaves, self.record = generator, n_octaves, record
        self.works = True
        self._seen: set[tuple] = set()
        self._kept: OrderedDict[tuple, _Recording] = OrderedDict()

    def clear(self) -> None:
        """Forget all recordings."""
        self._kept.clear()

    def begin(self, inputs: StepInputs, step: Step) -> tuple[Sources, Callable[[], StepResult]]:
        """The sources that the steps of a group will use, and what to call for each of the steps."""
        key = _kind(inputs)
        if not self.works or key not in self._seen:
            self._seen.add(key)
            return inputs.sources, lambda: step(inputs)
        if key not in self._kept:
            self._kept[key] = _Recording(inputs, self.n_octaves)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        recording = self._kept[key]
        recording.load(inputs)
        return recording.inputs.sources, lambda: self._run(recording, step)

    def _run(self, recording: _Recording, step: Step) -> StepResult:
        if recording.replay is not None:
            return recording.replay()
        if not self.works:
            return step(recording.inputs)
        done: list[StepResult] = []

        def remembered() -> StepResult:
            done.append(step(recording.inputs))
            return done[-1]

        try:
            first, recording.replay = self.record(remembered, self.generator)
            return first
        except RuntimeError as error:
            if not done:  # it was not the recording that failed
                raise
            self.works = False
            self.clear()  # their memory may be what was missing
            reason = (str(error).splitlines() or ["?"])[0]
            warnings.warn(f"training steps cannot be recorded and run one kernel at a time: {reason}", stacklevel=2)
            return done[0]


class _Recording:
    """The buffers that the steps of one kind read, and once they were recorded their replay."""

    def __init__(self, inputs: StepInputs, n_octaves: int) -> None:
        self.n_octaves = n_octaves
        self.replay: Callable[[], StepResult] | None = None
        self.numbers = _numbers(inputs.stage, n_octaves).to(inputs.targets.device)
        followed = dict(zip(FOLLOWED, self.numbers, strict=False))
        stage = replace(inputs.stage, **followed, window=self.numbers[len(FOLLOWED) :])
        self.inputs = replace(inputs, targets=inputs.targets.clone(), sources=_copied(inputs.sources), stage=stage)

    @torch.no_grad()
    def load(self, inputs: StepInputs) -> None:
        """Take in the inputs of another group of the same kind; the gradient of its maps starts from zero."""
        self.numbers.copy_(upload(_numbers(inputs.stage, self.n_octaves), self.numbers.device))
        self.inputs.targets.copy_(inputs.targets)
        for name, own in _tensors(self.inputs.sources).items():
            own.copy_(getattr(inputs.sources, name))
        if self.inputs.sources.maps.grad is not None:
            self.inputs.sources.maps.grad.zero_()


def _kind(inputs: StepInputs) -> tuple:
    """What two groups must share for one recording to serve both."""
    sources = inputs.sources
    shapes = tuple((name, tuple(value.shape)) for name, value in _tensors(sources).items())
    return (id(inputs.photos), len(inputs.targets), shapes, sources.maps.requires_grad, inputs.active)


def _numbers(stage: Stage, n_octaves: int) -> Tensor:
    """On the CPU: the numbers of a stage that a replayed step reads, those of ``FOLLOWED`` first."""
    followed = torch.tensor([float(getattr(stage, name)) for name in FOLLOWED])
    return torch.cat([followed, octave_factors(float(stage.window), n_octaves)])


def _tensors(sources: Sources) -> dict[str, Tensor]:
    values = {field.name: getattr(sources, field.name) for field in fields(sources)}
    return {name: value for name, value in values.items() if value is not None}


def _copied(sources: Sources) -> Sources:
    """The same in memory of its own; a gradient of the maps has its place from the start."""
    copies = {name: value.detach().clone() for name, value in _tensors(sources).items()}
    if sources.maps.requires_grad:
        copies["maps"].requires_grad_()
        copies["maps"].grad = torch.zeros_like(copies["maps"])
    return replace(sources, **copies)
