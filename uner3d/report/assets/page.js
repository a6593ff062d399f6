// The turntable: drag the picture, move the slider, press the arrow keys, or let it play.
"use strict";
for (const box of document.querySelectorAll(".turntable")) {
  const picture = box.querySelector("img");
  const slider = box.querySelector("input");
  const button = box.querySelector("button");
  const sources = JSON.parse(box.querySelector("script").textContent);
  // Decoded once and kept, so that turning does not flicker.
  const decoded = sources.map((source) => Object.assign(new Image(), { src: source }));
  const n = sources.length;
  let frame = 0;
  let timer = null;

  function show(next) {
    frame = ((Math.round(next) % n) + n) % n;
    picture.src = decoded[frame].src;
    slider.value = frame;
  }
  function play(on) {
    clearInterval(timer);
    timer = on ? setInterval(() => show(frame + 1), 110) : null;
    button.textContent = on ? "Pause" : "Play";
  }

  let startX = null;
  let startFrame = 0;
  picture.addEventListener("pointerdown", (event) => {
    play(false);
    startX = event.clientX;
    startFrame = frame;
    picture.setPointerCapture(event.pointerId);
    picture.classList.add("held");
    event.preventDefault();
  });
  picture.addEventListener("pointermove", (event) => {
    // One turn per width of the picture; the object follows the hand.
    if (startX !== null) show(startFrame - ((event.clientX - startX) / picture.clientWidth) * n);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    picture.addEventListener(end, () => {
      startX = null;
      picture.classList.remove("held");
    });
  }
  slider.addEventListener("input", () => {
    play(false);
    show(Number(slider.value));
  });
  button.addEventListener("click", () => play(timer === null));
  box.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step === undefined || event.target === slider) return;
    play(false);
    show(frame + step);
    event.preventDefault();
  });
  box.querySelector(".controls").hidden = false;
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) play(true);
}
