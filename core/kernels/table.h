// Room: core/kernels. Fills one instruction set's table; included inside its own namespace.

template <class S>
constexpr KernelTable make_table(const char* name) {
    return KernelTable{
        .name = name,
        .max_tile = S::max_tile,
        .attend_rows = S::attend_rows,
        .quantize_row = quantize_row<S>,
        .panel_row = panel_row,
        .fixed_row = fixed_row<S>,
        .tiles = {tile_f<S, FormatF32>, tile_f<S, FormatF16>, tile_f<S, FormatBF16>,
                  tile_q<S, FormatQ4_0>, tile_q<S, FormatQ4_1>, tile_q<S, FormatQ5_0>,
                  tile_q<S, FormatQ5_1>, tile_q<S, FormatQ8_0>, tile_q<S, FormatQ2_K>,
                  tile_q<S, FormatQ3_K>, tile_q<S, FormatQ4_K>, tile_q<S, FormatQ5_K>,
                  tile_q<S, FormatQ6_K>, tile_q<S, FormatIQ4_NL>, tile_q<S, FormatIQ4_XS>,
                  tile_q<S, FormatMXFP4>, tile_fixed<S>,
                  tile_q<S, FormatInt4x32>, tile_q<S, FormatInt4x64>, tile_q<S, FormatInt4x128>,
                  tile_q<S, FormatInt8x32>, tile_q<S, FormatInt8x128>, tile_m<S, 32>,
                  tile_m<S, 128>, tile_q<S, FormatNvfp4>, tile_q<S, FormatMXFP4>},
        .types = {0, 1, 30, 2, 3, 6, 7, 8, 10, 11, 12, 13, 14, 20, 23, 39, kFixedType,
                  kInt4x32, kInt4x64, kInt4x128, kInt8x32, kInt8x128, kFp8x32, kFp8x128, kNvfp4,
                  kMxfp4Pairs},
        .rms_norm = rms_norm<S>,
        .add = add_rows<S>,
        .add_scaled = add_scaled<S>,
        .silu_multiply = silu_multiply<S>,
        .rotate = rotate<S>,
        .pages = {{store_key<S>, store_value<S>, attend_segment<S, HalfPage<S>>},
                  {store_key_bytes<S>, store_value_bytes<S>, attend_segment<S, BytePage<S>>}},
        .merge = merge_states<S>,
        .finish = finish_row<S>,
        .weigh_logits = weigh_logits<S>,
        .layer_norm = layer_norm<S>,
        .settle = settle<S>,
        .attend_head = attend_head<S>,
        .read_all = read_all<S>,
    };
}
