"""Rewrites of the graph, each its own file, in the order they run. A pass takes the
graph and changes it."""
from . import (
    bytes_maps,
    bytes_products,
    channels_first,
    crop_layers,
    drop_dead,
    factor_out,
    fold_batch_norm,
    fold_constants,
    fold_group_norm,
    fold_inputs,
    fuse_activation,
    fuse_gate,
    fuse_inverted,
    fuse_mean,
    fuse_normalised_input,
    fuse_pad,
    fuse_pool,
    fuse_quantise,
    fuse_residual,
    lines_as_images,
    masks_by_distance,
    merge_branches,
    narrow_turns,
    pick_channels,
    simplify,
    spelled_out,
    spelled_out_attention,
    spelled_out_slices,
    spread_parts,
    sums_of_stacks,
    trim_taps,
    turn_thin,
    turn_tokens,
)

FOLDED = (fold_batch_norm.run, fold_constants.run)   # each may lay open what the other takes
ORDER = (spelled_out_slices.run, simplify.run, spelled_out.run, spelled_out_attention.run,
         fold_group_norm.run, lines_as_images.run, drop_dead.run, turn_tokens.run, drop_dead.run,
         channels_first.run, drop_dead.run, narrow_turns.run, drop_dead.run, fuse_pad.run, crop_layers.run,
         *FOLDED, crop_layers.run, merge_branches.run, drop_dead.run, *FOLDED, simplify.run,
         sums_of_stacks.run, drop_dead.run, factor_out.run, drop_dead.run, fold_inputs.run, spread_parts.run,
         drop_dead.run, masks_by_distance.run, bytes_products.run, drop_dead.run, bytes_maps.run,
         drop_dead.run, fuse_residual.run, fuse_quantise.run, fuse_activation.run, fuse_normalised_input.run,
         fuse_gate.run, drop_dead.run, fuse_inverted.run, fuse_mean.run, turn_thin.run)
UNFUSED = (simplify.run, drop_dead.run)   # for kernels that apply nothing before they store
# these depend on sizes, which a graph for several is yet to get
WITH_SIZES = (trim_taps.run, pick_channels.run, drop_dead.run)
ONCE_CHOSEN = (fuse_pool.run,)   # these need to know the algorithms of convolutions


def run_all(graph, order=ORDER) -> None:
    for each in order:
        each(graph)
    for node in graph.nodes:
        for body in node.bodies:
            run_all(body, order)
