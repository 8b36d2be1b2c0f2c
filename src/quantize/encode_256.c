#include "encode_256.h"

#include <assert.h>
#include <math.h>

#include "blocks.h"

nb_super_shape nb_shape_256(nb_type type) {
  switch (type) {
    case NB_TYPE_Q2_K:
      return (nb_super_shape){.levels = {.lo = 0, .hi = 3, .first = -0.5f, .last = 1, .step = 0.5f}, .size = 16, .s_max = 15, .m_max = 15,
                              .reach = {15, 14, 13, 12, 11, 10, 17}, .from = 0, .to = 2, .around = 3};
    case NB_TYPE_Q3_K:
      return (nb_super_shape){.levels = {.lo = -4, .hi = 3, .first = 0.75f, .last = 6, .step = 0.25f, .fine = 0.35f}, .size = 16,
                              .s_min = -32, .s_max = 31, .reach = {-32, -31, -30, -29, -28, -26, -24, -36, -41, -48, -60}, .from = 0.25f, .to = 2};
    case NB_TYPE_Q4_K:
      return (nb_super_shape){.levels = {.lo = 0, .hi = 15, .first = -0.5f, .last = 3, .step = 0.5f}, .size = 32, .s_max = 63, .m_max = 63,
                              .reach = {63, 60, 57, 70}, .from = 0.7f, .to = 1.2f, .around = 5};
    case NB_TYPE_Q5_K:
      return (nb_super_shape){.levels = {.lo = 0, .hi = 31, .first = -0.5f, .last = 5, .step = 1}, .size = 32, .s_max = 63, .m_max = 63,
                              .reach = {63, 60, 57, 70}, .from = 0.7f, .to = 1.2f, .around = 5};
    case NB_TYPE_Q6_K:
      return (nb_super_shape){.levels = {.lo = -32, .hi = 31, .first = 20, .last = 36, .step = 0.5f, .fine = 0.06f}, .size = 16,
                              .s_min = -128, .s_max = 127, .reach = {-128, -124, -120, -116, -112, -150}, .from = 0.75f, .to = 1.2f};
    case NB_TYPE_IQ4_XS:
      return (nb_super_shape){.levels = {.lo = -127, .hi = 113, .table = true, .first = 60, .last = 158, .step = 4, .fine = 0.015f}, .size = 32,
                              .s_min = -32, .s_max = 31, .reach = {-32, -31, -30, -29, -28, -26, -36, -41, -48}, .from = 0.6f, .to = 1.4f};
    default: assert(!"a type with blocks of 256"); return (nb_super_shape){.size = 32};
  }
}

// Group by group the number of largest magnitude goes to the lowest level; the group of the largest scale gets the lowest code.
static nb_super_plan plain_signed(const nb_super_shape *shape, const float *x) {
  nb_super_plan plan = {0};
  float scale[NB_GROUPS], top = 0;
  for (int j = 0; j < 256 / shape->size; j++) {
    float most = 0;
    for (int i = j * shape->size; i < (j + 1) * shape->size; i++) most = fabsf(x[i]) > fabsf(most) ? x[i] : most;
    scale[j] = most / shape->levels.lo;
    top = fabsf(scale[j]) > fabsf(top) ? scale[j] : top;
  }
  plan.d = nb_half_round(top / (float)shape->s_min);
  if (plan.d == 0) return plan;
  for (int j = 0; j < 256 / shape->size; j++) plan.s[j] = (int)nb_round_within(scale[j] / plan.d, (float)shape->s_min, (float)shape->s_max);
  return plan;
}

// Group by group the smallest number (0 if there is none below) goes to the lowest level and the largest to the highest; the largest scale and the
// largest minimum get the highest codes.
static nb_super_plan plain_mins(const nb_super_shape *shape, const float *x) {
  nb_super_plan plan = {0};
  float scale[NB_GROUPS], min[NB_GROUPS], top = 0, deepest = 0;
  for (int j = 0; j < 256 / shape->size; j++) {
    float lo = 0, hi = x[j * shape->size];
    for (int i = j * shape->size; i < (j + 1) * shape->size; i++) {
      lo = x[i] < lo ? x[i] : lo;
      hi = x[i] > hi ? x[i] : hi;
    }
    min[j] = -lo;
    scale[j] = (hi - lo) / shape->levels.hi;
    top = scale[j] > top ? scale[j] : top;
    deepest = min[j] > deepest ? min[j] : deepest;
  }
  plan.d = nb_half_round(top / (float)shape->s_max);
  plan.dmin = nb_half_round(deepest / (float)shape->m_max);
  for (int j = 0; j < 256 / shape->size; j++) {
    if (plan.d > 0) plan.s[j] = (int)nb_round_within(scale[j] / plan.d, 0, (float)shape->s_max);
    if (plan.dmin > 0) plan.m[j] = (int)nb_round_within(min[j] / plan.dmin, 0, (float)shape->m_max);
  }
  return plan;
}

void nb_encode_256(nb_type type, bool search, const float *x, const float *w, void *block) {
  const nb_super_shape shape = nb_shape_256(type);
  const nb_super_plan plan = shape.m_max ? (search ? nb_search_mins(&shape, x, w) : plain_mins(&shape, x))
                                         : (search ? nb_search_signed(&shape, x, w) : plain_signed(&shape, x));
  nb_codes256 codes = {.d = nb_half_bits(plan.d), .dmin = nb_half_bits(plan.dmin)};
  for (int j = 0; j < 256 / shape.size; j++) {
    codes.scale[j] = (int16_t)plan.s[j];
    codes.min[j] = (int16_t)plan.m[j];
    const float scale = plan.d * (float)plan.s[j], shift = -(plan.dmin * (float)plan.m[j]), inverse = scale != 0 ? 1.0f / scale : 0;
    for (int i = j * shape.size; i < (j + 1) * shape.size; i++) codes.q[i] = nb_level_code(&shape.levels, (x[i] - shift) * inverse);
  }
  nb_block_put_256(type, &codes, block);
}
