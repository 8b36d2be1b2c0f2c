#include "grid.h"

#include <assert.h>
#include <math.h>

#include "../kernels/unpack.h"
#include "blocks.h"
#include "encode_256.h"
#include "encode_32.h"

nb_grid nb_grid_of(nb_type type) {
  const nb_type_info *info = nb_type_get(type);
  nb_grid grid = {.type = type, .block = info->block_size, .bytes = info->block_bytes, .mins = nb_has_mins(type)};
  if (grid.block == 32) {
    grid.levels = nb_levels_32(type);
    grid.size = 32;
    grid.s_min = grid.s_max = grid.m_max = 1;
  } else {
    assert(grid.block == 256);
    const nb_super_shape shape = nb_shape_256(type);
    grid.levels = shape.levels;
    grid.size = (size_t)shape.size;
    grid.s_min = shape.s_min;
    grid.s_max = shape.s_max;
    grid.m_max = shape.m_max;
  }
  grid.groups = grid.block / grid.size;
  return grid;
}

static uint8_t code_of(const nb_levels *levels, int level) { return nb_level_code(levels, (float)level); }

void nb_grid_take(const nb_grid *grid, const void *block, nb_grid_block *out) {
  if (grid->block == 32) {
    nb_ints32 u;
    nb_unpack32_of(grid->type)(block, &u);
    out->d = u.d;
    out->dmin = -u.m;
    out->s[0] = out->m[0] = 1;
    for (size_t i = 0; i < 32; i++) out->q[i] = code_of(&grid->levels, u.q[i]);
    return;
  }
  nb_ints256 u;
  nb_unpack256_of(grid->type)(block, &u);
  out->d = u.d;
  out->dmin = u.dmin;
  for (size_t g = 0; g < grid->groups; g++) {
    out->s[g] = u.scale[g * grid->size / 16];
    out->m[g] = u.min[g * grid->size / 16];
  }
  for (size_t i = 0; i < 256; i++) out->q[i] = code_of(&grid->levels, u.q[i]);
}

void nb_grid_put(const nb_grid *grid, const nb_grid_block *from, void *block) {
  if (grid->block == 32) {
    nb_codes32 codes = {.d = nb_half_bits(from->d), .m = nb_half_bits(-from->dmin)};
    for (size_t i = 0; i < 32; i++) codes.q[i] = from->q[i];
    nb_block_put_32(grid->type, &codes, block);
    return;
  }
  nb_codes256 codes = {.d = nb_half_bits(from->d), .dmin = nb_half_bits(from->dmin)};
  for (size_t g = 0; g < grid->groups; g++) {
    codes.scale[g] = (int16_t)from->s[g];
    codes.min[g] = (int16_t)from->m[g];
  }
  for (size_t i = 0; i < 256; i++) codes.q[i] = from->q[i];
  nb_block_put_256(grid->type, &codes, block);
}

void nb_fit_best(const nb_fit *fit, bool two, double *a, double *b) {
  const double det = fit->ll * fit->oo - fit->lo * fit->lo;
  *b = 0;
  if (two && det > 1e-9 * fit->ll * fit->oo) {
    *a = (fit->lg * fit->oo - fit->og * fit->lo) / det;
    *b = (fit->og * fit->ll - fit->lg * fit->lo) / det;
    return;
  }
  *a = fit->ll > 0 ? fit->lg / fit->ll : 0;
  if (two && !(fit->ll > 0)) *b = nb_fit_shift(fit, 0);
}

int nb_code_within(double v, int lo, int hi) { return v < lo ? lo : v > hi ? hi : (int)floor(v + 0.5); }

void nb_grid_lines(const nb_grid *grid, const nb_grid_block *b, size_t lane, nb_lines16 *lines) {
  for (size_t g = 0; g < grid->groups; g++) {
    const float scale = nb_grid_scale(b, g);
    lines[g].scale[lane] = scale;
    lines[g].shift[lane] = nb_grid_shift(b, g);
    lines[g].inverse[lane] = scale != 0 ? 1.0f / scale : 0;
  }
}

void nb_grid_round16(const nb_levels *levels, const nb_lines16 *lines, const float *v, float *value, float *level, uint8_t *code) {
  if (levels->table) {
    for (int l = 0; l < 16; l++) {
      code[l] = nb_level_code(levels, (v[l] - lines->shift[l]) * lines->inverse[l]);
      level[l] = nb_level_value(levels, code[l]);
    }
  } else {
    const float lo = levels->lo, hi = levels->hi;
    for (int l = 0; l < 16; l++) level[l] = nb_round_within((v[l] - lines->shift[l]) * lines->inverse[l], lo, hi);
    for (int l = 0; l < 16; l++) code[l] = (uint8_t)(int)(level[l] - lo);
  }
  for (int l = 0; l < 16; l++) value[l] = lines->scale[l] * level[l] + lines->shift[l];
}
