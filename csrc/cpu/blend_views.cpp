#include "../ops/blend_views.h"

#include "blend_shares.h"

namespace uner3d::cpu {
namespace {
template <class T, class Net>
void blend_tiles(const BlendViewsArgs<T>& a, const Net& net, const std::vector<core::Camera<T>>& cameras,
                 const std::vector<core::Camera<T>>& photo_cameras, const BlendChunk& chunk) {
  const std::int64_t n_views = a.views.n_views;
  Scratch<BlendView<T>> views(n_views);
  Scratch<T> inputs(kTile * net.stride), hidden(kTile * Net::kHidden);
  BlendTile<T, Net> tile;
  T colour[kBlendColours][kTile];
  for (std::int64_t i = chunk.begin; i < chunk.end; i += kTile) {
    tile.load(a, chunk, i);
    std::int64_t n = 0;
    for (std::int64_t v = 0; v < n_views; ++v)
      n += look(a, net, v, cameras[v], photo_cameras[v], tile, views[n], inputs.get(), hidden.get());
    blend(views.get(), n, colour);
    for (int p = 0; p < tile.at.n; ++p)
      for (int k = 0; k < kBlendColours; ++k) a.colour[tile.at.index[p] * kBlendColours + k] = colour[k][p];
  }
}
}  // namespace

template <class T>
void blend_views_forward(const BlendViewsArgs<T>& a, int n_threads) {
  const auto cameras = make_cameras(a.views), photo_cameras = make_cameras(a.photo_views);
  with_net(a, [&](const auto& net) {
    for_blend_chunks(a, n_threads,
                     [&](const BlendChunk& chunk) { blend_tiles(a, net, cameras, photo_cameras, chunk); });
  });
}

template void blend_views_forward<float>(const BlendViewsArgs<float>&, int);
template void blend_views_forward<double>(const BlendViewsArgs<double>&, int);

}  // namespace uner3d::cpu
