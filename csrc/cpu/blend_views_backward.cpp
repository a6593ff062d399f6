#include "../ops/blend_views.h"
#include "blend_shares.h"

namespace uner3d::cpu {
namespace {
// What the points of a chunk add to the gradients of the layers: (n_inputs, kHidden) and then (kHidden,) of the scores.
template <class T, class Net>
class LayerSums {
 public:
  using V = typename Net::Vector;

  LayerSums(const Net& net, std::int64_t n_chunks)
      : net_(net), size_((net.n_inputs + 1) * Net::kHidden), sums_(n_chunks * size_) {
    std::fill(sums_.get(), sums_.get() + n_chunks * size_, T(0));
  }

  T* chunk(std::int64_t i) const { return sums_.get() + i * size_; }

  // Inputs and gradients of the hidden units of a tile. The sums of several inputs stay in registers.
  void add(T* sums, const T* inputs, const T* grad_hidden) const {
    constexpr int kRows = Net::kBlocks == 1 ? 8 : Net::kBlocks == 2 ? 4 : Net::kBlocks == 4 ? 2 : 1;
    std::int64_t c = 0;
    for (; c + kRows <= net_.n_inputs; c += kRows) add_rows<kRows>(sums + c * Net::kHidden, inputs + c, grad_hidden);
    for (; c < net_.n_inputs; ++c) add_rows<1>(sums + c * Net::kHidden, inputs + c, grad_hidden);
  }

  void add_score(T* sums, const T* hidden, const T* grad_score) const {
    V total[Net::kBlocks] = {};
    for (int p = 0; p < kTile; ++p)
      for (int b = 0; b < Net::kBlocks; ++b)
        total[b] += grad_score[p] * load<V>(hidden + p * Net::kHidden + b * Net::kWide);
    T* const to = sums + net_.n_inputs * Net::kHidden;
    for (int b = 0; b < Net::kBlocks; ++b) store(to + b * Net::kWide, V(load<V>(to + b * Net::kWide) + total[b]));
  }

  // Adds up the chunks, always in their order: the same bytes for any number of threads.
  std::vector<double> total(std::int64_t n_chunks) const {
    std::vector<double> out(static_cast<std::size_t>(size_));
    for (std::int64_t i = 0; i < n_chunks; ++i)
      for (std::int64_t k = 0; k < size_; ++k) out[static_cast<std::size_t>(k)] += sums_[i * size_ + k];
    return out;
  }

 private:
  template <int kRows>
  void add_rows(T* to, const T* inputs, const T* grad_hidden) const {
    V total[kRows][Net::kBlocks] = {};
    for (int p = 0; p < kTile; ++p)
      for (int b = 0; b < Net::kBlocks; ++b) {
        const V g = load<V>(grad_hidden + p * Net::kHidden + b * Net::kWide);
        for (int r = 0; r < kRows; ++r) total[r][b] += inputs[p * net_.stride + r] * g;
      }
    for (int r = 0; r < kRows; ++r)
      for (int b = 0; b < Net::kBlocks; ++b) {
        T* const at = to + r * Net::kHidden + b * Net::kWide;
        store(at, V(load<V>(at) + total[r][b]));
      }
  }

  const Net& net_;
  std::int64_t size_;
  Scratch<T> sums_;
};

// Gradients to the scores of one view (kTile,) and through the ReLU to its hidden units (kTile, kHidden). Rows beyond
// the tile's points repeat the last one, and get none.
template <class T, class Net>
void grad_of_view(const Net& net, const BlendView<T>& view, int n, const T (&grad)[kBlendColours][kTile],
                  const T* along_blend, const T* hidden, T* grad_score, T* grad_hidden) {
  using V = typename Net::Vector;
#pragma omp simd
  for (int p = 0; p < kTile; ++p) {
    T along = T(0);
    for (int k = 0; k < kBlendColours; ++k) along += grad[k][p] * view.pixel[k][p];
    const T value = core::blend_grad_score(view.share[p], along, along_blend[p]);
    grad_score[p] = view.seen[p] && p < n ? value : T(0);
  }
  for (int p = 0; p < kTile; ++p)
    for (int b = 0; b < Net::kBlocks; ++b) {
      const V zero = {}, h = load<V>(hidden + p * Net::kHidden + b * Net::kWide);
      const V to = grad_score[p] * load<V>(net.score + b * Net::kWide);
      store(grad_hidden + p * Net::kHidden + b * Net::kWide, h > zero ? to : zero);
    }
}

template <class T, class Net>
void write_grad_features(const BlendViewsGradArgs<T>& a, const PointTile<T>& tile, std::int64_t view,
                         const T* grad_hidden) {
  const BlendViewsArgs<T>& f = a.forward;
  for (int p = 0; p < tile.n; ++p, grad_hidden += Net::kHidden) {
    T* const to = a.grad_features + (tile.index[p] * f.views.n_views + view) * f.n_channels;
    for_channel_blocks<T>(f.n_channels, [&](auto block, std::int64_t channel) {
      using B = decltype(block);
      typename B::Vector sum[B::kCount] = {};
      for (std::int64_t j = 0; j < f.layers.n_hidden; ++j)
        for (int k = 0; k < B::kCount; ++k)
          sum[k] += grad_hidden[j] *
                    load<typename B::Vector>(f.layers.feature_weight + j * f.n_channels + channel + k * B::kWidth);
      for (int k = 0; k < B::kCount; ++k) store(to + channel + k * B::kWidth, sum[k]);
    });
  }
}

template <class T>
void clear_grad_features(const BlendViewsGradArgs<T>& a, const PointTile<T>& tile) {
  const std::int64_t n = a.forward.views.n_views * a.forward.n_channels;
  for (int p = 0; p < tile.n; ++p) std::fill_n(a.grad_features + tile.index[p] * n, n, T(0));
}

// What a thread keeps of a tile: of the views that see any of it, one after another.
template <class T, class Net>
struct Looks {
  Scratch<BlendView<T>> views;
  Scratch<std::int64_t> view;       // its number
  std::int64_t n_inputs, n_hidden;  // values of a view
  Scratch<T> inputs, hidden;
  std::int64_t n = 0;

  Looks(std::int64_t n_views, const Net& net)
      : views(n_views),
        view(n_views),
        n_inputs(kTile * net.stride),
        n_hidden(kTile * Net::kHidden),
        inputs(n_views * n_inputs),
        hidden(n_views * n_hidden) {}

  T* inputs_of(std::int64_t i) const { return inputs.get() + i * n_inputs; }
  T* hidden_of(std::int64_t i) const { return hidden.get() + i * n_hidden; }
};

template <class T, class Net>
void grad_tile(const BlendViewsGradArgs<T>& a, const Net& net, const LayerSums<T, Net>& layers, T* sums,
               const BlendTile<T, Net>& tile, Looks<T, Net>& looks) {
  T colour[kBlendColours][kTile], grad[kBlendColours][kTile], along_blend[kTile] = {}, grad_score[kTile];
  alignas(64) T grad_hidden[kTile * Net::kHidden], own[kTile * Net::kHidden] = {};
  blend(looks.views.get(), looks.n, colour);
  for (int p = 0; p < kTile; ++p)
    for (int k = 0; k < kBlendColours; ++k) {
      grad[k][p] = a.grad_colour[tile.at.index[p] * kBlendColours + k];
      along_blend[p] += grad[k][p] * colour[k][p];
    }
  if (a.grad_features) clear_grad_features(a, tile.at);
  for (std::int64_t i = 0; i < looks.n; ++i) {
    grad_of_view(net, looks.views[i], tile.at.n, grad, along_blend, looks.hidden_of(i), grad_score, grad_hidden);
    layers.add(sums, looks.inputs_of(i), grad_hidden);
    layers.add_score(sums, looks.hidden_of(i), grad_score);
    for (int k = 0; k < kTile * Net::kHidden; ++k) own[k] += grad_hidden[k];
    if (a.grad_features) write_grad_features<T, Net>(a, tile.at, looks.view[i], grad_hidden);
  }
  const std::int64_t n = a.forward.layers.n_hidden;
  for (int p = 0; p < tile.at.n; ++p) std::copy_n(own + p * Net::kHidden, n, a.grad_hidden + tile.at.index[p] * n);
}

// From (n_inputs, kHidden) and (kHidden,) to the layers as they are given.
template <class T, class Net>
void write_layers(const BlendViewsGradArgs<T>& a, const Net& net, const std::vector<double>& total) {
  const BlendViewsArgs<T>& f = a.forward;
  const auto at = [&](std::int64_t c, std::int64_t j) {
    return static_cast<T>(total[static_cast<std::size_t>(c * Net::kHidden + j)]);
  };
  for (std::int64_t j = 0; j < f.layers.n_hidden; ++j) {
    for (std::int64_t c = 0; c < f.n_channels; ++c) a.grad_feature_weight[j * f.n_channels + c] = at(c, j);
    for (int c = 0; c < kBlendInputs; ++c) a.grad_angle_weight[j * kBlendInputs + c] = at(f.n_channels + c, j);
    a.grad_score_weight[j] = at(net.n_inputs, j);
  }
}
}  // namespace

template <class T>
void blend_views_backward(const BlendViewsGradArgs<T>& a, int n_threads) {
  const BlendViewsArgs<T>& f = a.forward;
  const auto cameras = make_cameras(f.views), photo_cameras = make_cameras(f.photo_views);
  const std::int64_t n_chunks = (f.n_points + kBlendChunk - 1) / kBlendChunk;
  with_net(f, [&](const auto& net) {
    using Net = std::decay_t<decltype(net)>;
    const LayerSums<T, Net> layers(net, n_chunks);
    for_blend_chunks(f, n_threads, [&](const BlendChunk& chunk) {
      Looks<T, Net> looks(f.views.n_views, net);
      BlendTile<T, Net> tile;
      T* const sums = layers.chunk(chunk.index);
      for (std::int64_t i = chunk.begin; i < chunk.end; i += kTile) {
        tile.load(f, chunk, i);
        looks.n = 0;
        for (std::int64_t v = 0; v < f.views.n_views; ++v) {
          looks.view[looks.n] = v;
          looks.n += look(f, net, v, cameras[v], photo_cameras[v], tile, looks.views[looks.n], looks.inputs_of(looks.n),
                          looks.hidden_of(looks.n));
        }
        grad_tile(a, net, layers, sums, tile, looks);
      }
    });
    write_layers(a, net, layers.total(n_chunks));
  });
}

template void blend_views_backward<float>(const BlendViewsGradArgs<float>&, int);
template void blend_views_backward<double>(const BlendViewsGradArgs<double>&, int);

}  // namespace uner3d::cpu
