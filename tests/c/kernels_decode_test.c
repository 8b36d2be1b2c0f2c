// Dequantization against the vectors of tests/vectors/kernels.bin (made by make_kernels.py): every type, all bytes, odd scales.
#include <math.h>
#include <stdio.h>

#include "../../src/kernels/pack.h"
#include "check.h"
#include "kernels_util.h"

static nb_matrix one_row(nb_type type, const uint8_t *blocks, size_t n) {
  const nb_type_info *info = nb_type_get(type);
  return (nb_matrix){.data = blocks, .type = type, .rows = 1, .cols = n, .row_bytes = n / info->block_size * info->block_bytes};
}

static void check_floats(nb_type type, const float *got, const float *want, size_t n) {
  for (size_t i = 0; i < n; i++) {
    const bool same = nb_f32_bits(got[i]) == nb_f32_bits(want[i]) || (isnan(got[i]) && isnan(want[i]));
    if (!same) fprintf(stderr, "%s weight %zu: %a, expected %a\n", nb_type_get(type)->name, i, (double)got[i], (double)want[i]);
    CHECK(same);
    if (!same) return;
  }
}

// The generator that make_kernels.py describes.
static void random_bytes(uint8_t *p, size_t n, uint32_t type) {
  uint64_t state = 0x9e3779b97f4a7c15ull ^ type;
  for (size_t i = 0; i < n; i += 8) {
    const uint64_t r = next_random(&state);
    memcpy(p + i, &r, n - i < 8 ? n - i : 8);
  }
}

static void check_hash(nb_type type, size_t n, uint64_t want) {
  const nb_type_info *info = nb_type_get(type);
  const half_offsets halves = halves_of(type);
  const size_t bytes = n / info->block_size * info->block_bytes;
  uint8_t *blocks = malloc(bytes);
  float *y = malloc(n * sizeof *y);
  CHECK(blocks && y);
  if (!blocks || !y) return;
  random_bytes(blocks, bytes, type);
  for (size_t b = 0; b < bytes; b += info->block_bytes) {
    blocks[b + halves.first + 1] &= 0xbf;
    if (halves.second >= 0) blocks[b + halves.second + 1] &= 0xbf;
  }
  const nb_matrix w = one_row(type, blocks, n);
  nb_dequantize_row(&w, 0, y);
  const uint64_t got = hash_bytes(y, n * sizeof *y, HASH_START);
  if (got != want) fprintf(stderr, "%s: floats of random blocks differ\n", info->name);
  CHECK(got == want);
  free(blocks);
  free(y);
}

static void read_or_die(void *p, size_t size, FILE *f) {
  if (fread(p, 1, size, f) != size) {
    fprintf(stderr, "kernels.bin is cut short\n");
    exit(1);
  }
}

static void every_vector_decodes_to_the_same_bits(void) {
  char path[1024];
  snprintf(path, sizeof path, "%s/kernels.bin", check_vectors_dir());
  FILE *f = fopen(path, "rb");
  CHECK(f);
  if (!f) return;
  uint32_t records, seen[NB_TYPE_LIMIT] = {0};
  read_or_die(&records, 4, f);
  for (uint32_t i = 0; i < records; i++) {
    uint32_t head[3];
    read_or_die(head, sizeof head, f);
    const nb_type type = (nb_type)head[0];
    seen[type]++;
    if (head[2] == 0) {
      uint64_t hash;
      read_or_die(&hash, 8, f);
      check_hash(type, head[1], hash);
      continue;
    }
    tight blocks = tight_new(head[2]), y = tight_new16(head[1] * sizeof(float));
    float *want = malloc(head[1] * sizeof *want);
    if (!want) abort();
    read_or_die(blocks.p, head[2], f);
    read_or_die(want, head[1] * sizeof *want, f);
    const nb_matrix w = one_row(type, blocks.p, head[1]);
    nb_dequantize_row(&w, 0, y.p);
    check_floats(type, y.p, want, head[1]);
    free(want);
    tight_free(&blocks);
    tight_free(&y);
  }
  for (size_t i = 0; i < N_BLOCK_TYPES; i++) CHECK(seen[ALL_TYPES[i]] >= 3);
  fclose(f);
}

static void plain_floats_decode_to_themselves(void) {
  uint64_t state = 7;
  for (size_t cols = 1; cols < 300; cols = cols * 3 + 1) {
    for (size_t i = N_BLOCK_TYPES; i < N_ALL_TYPES; i++) {
      test_matrix m = matrix_new(ALL_TYPES[i], 3, cols, &state);
      tight y = tight_new16(cols * sizeof(float));
      for (size_t r = 0; r < 3; r++) {
        nb_dequantize_row(&m.w, r, y.p);
        for (size_t c = 0; c < cols; c++) {
          const uint8_t *p = m.w.data + r * m.w.row_bytes + c * nb_type_get(m.w.type)->block_bytes;
          uint16_t h;
          float want;
          memcpy(&h, p, 2);
          if (m.w.type == NB_TYPE_F32) memcpy(&want, p, 4);
          else want = m.w.type == NB_TYPE_F16 ? nb_f16_to_f32(h) : nb_bf16_to_f32(h);
          CHECK(((float *)y.p)[c] == want);
        }
      }
      tight_free(&y);
      matrix_free(&m);
    }
  }
}

// Packing keeps every bit: rows decode to the same bits and come back as the file's bytes.
static void packed_rows_decode_to_the_same_bits(void) {
  enum { ROWS = 29 };  // 3 groups, and 5 rows that stay as they are
  uint64_t state = 9;
  CHECK(nb_pack_layout(NB_TYPE_Q4_0, 16, 64) == NB_LAYOUT_X8);
  CHECK(nb_pack_layout(NB_TYPE_Q4_0, 15, 64) == NB_LAYOUT_X8);
  CHECK(nb_pack_layout(NB_TYPE_Q4_0, 7, 64) == NB_LAYOUT_ROWS);
  CHECK(nb_pack_layout(NB_TYPE_Q4_0, 0, 64) == NB_LAYOUT_ROWS);
  CHECK(nb_pack_layout(NB_TYPE_Q6_K, 16, 256) == NB_LAYOUT_X8);
  CHECK(nb_pack_layout(NB_TYPE_Q2_K, 16, 256) == NB_LAYOUT_ROWS);
  CHECK(nb_pack_layout(NB_TYPE_BF16, 16, 64) == NB_LAYOUT_ROWS);
  CHECK(nb_pack_group_rows(NB_LAYOUT_ROWS) == 1 && nb_pack_group_rows(NB_LAYOUT_X8) == 8);
  size_t types = 0;
  for (size_t i = 0; i < N_BLOCK_TYPES; i++) {
    const nb_type_info *info = nb_type_get(ALL_TYPES[i]);
    for (size_t blocks = 1; blocks <= 5 && nb_pack_layout(ALL_TYPES[i], ROWS, blocks * info->block_size) == NB_LAYOUT_X8; blocks += 2) {
      types += blocks == 1;
      test_matrix rows = matrix_new(ALL_TYPES[i], ROWS, blocks * info->block_size, &state), packed = rows;
      packed.memory = tight_new(ROWS * rows.w.row_bytes);
      packed.w.data = packed.memory.p;
      memcpy(packed.memory.p, rows.memory.p, ROWS * rows.w.row_bytes);
      matrix_pack(&packed);
      CHECK(memcmp(packed.w.data, rows.w.data, ROWS * rows.w.row_bytes) != 0);
      for (size_t r = 0; r < ROWS; r++) {
        float a[5 * 256], b[5 * 256];
        nb_dequantize_row(&rows.w, r, a);
        nb_dequantize_row(&packed.w, r, b);
        CHECK(memcmp(a, b, rows.w.cols * sizeof(float)) == 0);
        for (size_t k = 0; k < blocks; k++) {
          nb_block_buffer buffer;
          const uint8_t *file = nb_file_block(&rows.w, r, k, &buffer);
          CHECK(file == rows.w.data + r * rows.w.row_bytes + k * info->block_bytes);
          CHECK(memcmp(nb_file_block(&packed.w, r, k, &buffer), file, info->block_bytes) == 0);
        }
      }
      uint8_t scratch[8 * 5 * 256];
      for (size_t r = 0; r + 8 <= ROWS; r += 8) nb_unpack_group(ALL_TYPES[i], NB_LAYOUT_X8, rows.w.row_bytes, (uint8_t *)packed.memory.p + r * rows.w.row_bytes, scratch);
      CHECK(memcmp(packed.memory.p, rows.memory.p, ROWS * rows.w.row_bytes) == 0);
      matrix_free(&rows);
      matrix_free(&packed);
    }
  }
  CHECK_EQ_INT(types, 10);
}

// Halves below 128 keep every bit, in rows of any width; pairs of rows take turns by 8 columns.
static void packed_halves_decode_to_the_same_bits(void) {
  enum { ROWS = 9, MOST = 40 };
  CHECK(nb_pack_layout(NB_TYPE_F16, 8, 3) == NB_LAYOUT_F16_BELOW_128 && nb_pack_layout(NB_TYPE_F16, 7, 64) == NB_LAYOUT_ROWS);
  CHECK(nb_pack_group_rows(NB_LAYOUT_F16_BELOW_128) == 2);
  uint16_t next = 0;
  uint64_t state = 12;
  for (size_t cols = 1; cols <= MOST; cols++) {
    for (int turn = 0; turn < 70; turn++) {
      test_matrix rows = matrix_new(NB_TYPE_F16, ROWS, cols, &state), packed = rows;
      for (size_t i = 0; i < ROWS * cols; i++, next = (uint16_t)((next + 1) % 0x5800)) put_half((uint8_t *)rows.memory.p + 2 * i, (uint16_t)(next | (i & 1) << 15));
      packed.memory = tight_new(ROWS * rows.w.row_bytes);
      packed.w.data = packed.memory.p;
      memcpy(packed.memory.p, rows.memory.p, ROWS * rows.w.row_bytes);
      matrix_pack(&packed);
      CHECK_EQ_INT(packed.w.layout, NB_LAYOUT_F16_BELOW_128);
      for (size_t r = 0; r < ROWS; r++) {
        float a[MOST], b[MOST];
        nb_dequantize_row(&rows.w, r, a);
        nb_dequantize_row(&packed.w, r, b);
        CHECK(memcmp(a, b, cols * sizeof(float)) == 0);
      }
      uint8_t scratch[2 * 2 * MOST];
      for (size_t r = 0; r + 2 <= ROWS; r += 2) nb_unpack_group(NB_TYPE_F16, NB_LAYOUT_F16_BELOW_128, rows.w.row_bytes, (uint8_t *)packed.memory.p + r * rows.w.row_bytes, scratch);
      CHECK(memcmp(packed.memory.p, rows.memory.p, ROWS * rows.w.row_bytes) == 0);
      matrix_free(&rows);
      matrix_free(&packed);
    }
  }
}

// 128 and more, infinities and NaN have no place in the layouts: such rows stay as they are.
static void large_halves_are_refused(void) {
  static const uint16_t large[] = {0x5800, 0xd800, 0x7bff, 0x7c00, 0xfc00, 0x7e00};
  uint64_t state = 13;
  for (size_t i = 0; i < N_BLOCK_TYPES; i++) {
    const size_t size = nb_type_get(ALL_TYPES[i])->block_size;
    if (nb_pack_layout(ALL_TYPES[i], 8, size) != NB_LAYOUT_X8) continue;
    const half_offsets halves = halves_of(ALL_TYPES[i]);
    for (size_t k = 0; k < sizeof large / sizeof *large; k++) {
      for (int second = 0; second <= (halves.second >= 0); second++) {
        test_matrix m = matrix_new(ALL_TYPES[i], 16, 2 * size, &state);  // in the first group or in the second
        put_half((uint8_t *)m.memory.p + (2 * k + 5) * m.w.row_bytes - nb_type_get(ALL_TYPES[i])->block_bytes + (second ? halves.second : halves.first), large[k]);
        uint8_t *before = malloc(16 * m.w.row_bytes);
        if (!before) abort();
        memcpy(before, m.memory.p, 16 * m.w.row_bytes);
        matrix_pack(&m);
        CHECK_EQ_INT(m.w.layout, NB_LAYOUT_ROWS);
        CHECK(memcmp(m.memory.p, before, 16 * m.w.row_bytes) == 0);
        free(before);
        matrix_free(&m);
      }
    }
  }
  for (size_t i = 0; i < sizeof large / sizeof *large; i++) {
    for (size_t at = 0; at < 22; at += 7) {
      uint16_t window[22], before[22], scratch[22];
      for (size_t k = 0; k < 22; k++) window[k] = (uint16_t)(1000 * k);
      window[at] = large[i];
      memcpy(before, window, sizeof window);
      CHECK(!nb_pack_group(NB_TYPE_F16, NB_LAYOUT_F16_BELOW_128, sizeof window / 2, (uint8_t *)window, (uint8_t *)scratch));
      CHECK(memcmp(before, window, sizeof window) == 0);
    }
  }
}

// A window of 8 rows of one block, all zeros but one byte of one row: what packing makes of it, by the description in pack.h.
static void check_place(nb_type type, size_t row, size_t file_byte, uint8_t value, size_t packed_byte, uint8_t packed_value) {
  uint8_t window[8 * 256] = {0}, zeros[8 * 256] = {0}, scratch[8 * 256];
  const size_t bytes = nb_type_get(type)->block_bytes;
  nb_pack_group(type, NB_LAYOUT_X8, bytes, zeros, scratch);
  window[row * bytes + file_byte] = value;
  nb_pack_group(type, NB_LAYOUT_X8, bytes, window, scratch);
  for (size_t i = 0; i < 8 * bytes; i++) CHECK_EQ_INT(window[i] ^ zeros[i], i == packed_byte ? packed_value : 0);
}

static void packed_bytes_stand_where_the_description_says(void) {
  check_place(NB_TYPE_Q4_0, 3, 1, 0x3c, 7, 0x64);                                     // a half, row by row, ten exponents further
  check_place(NB_TYPE_Q4_0, 5, 2 + 9, 0xa5, 16 + 2 * 32 + 5 * 4 + 1, 0xa5);           // byte 9 is byte 1 of word 2
  check_place(NB_TYPE_IQ4_NL, 0, 2 + 15, 0x12, 16 + 3 * 32 + 3, 0x12);
  check_place(NB_TYPE_Q4_1, 7, 3, 0x44, 16 + 15, 0x6c);                               // m
  check_place(NB_TYPE_Q5_0, 2, 2 + 3, 0x40, 16 + 2 * 4 + 2, 0x80);                    // column 30 = 4 * 7 + 2
  check_place(NB_TYPE_Q5_1, 1, 4 + 0, 0x02, 32 + 1 * 4 + 1, 0x01);                    // column 1
  check_place(NB_TYPE_Q8_0, 6, 2 + 21, 0xff, 16 + 5 * 32 + 6 * 4 + 1, 0xff);
  check_place(NB_TYPE_Q4_K, 4, 4 + 2, 0x3f, 32 + 2 * 8 + 4, 0x3f);                    // scale 2
  check_place(NB_TYPE_Q4_K, 4, 4 + 8 + 2, 0x03, 32 + 0 * 8 + 4, 0xc0);                // bits 0-1 of scale 6, on top of scale 0
  check_place(NB_TYPE_Q4_K, 4, 4 + 8 + 3, 0xc0, 32 + 48 + 3 * 8 + 4, 0xc0);           // bits 2-3 of minimum 7, on top of minimum 3
  check_place(NB_TYPE_Q4_K, 1, 16 + 32 * 3 + 18, 0x50, 128 + 7 * 128 + 0 * 32 + 4 + 2, 0x50);  // column 242: the second half of part 7
  check_place(NB_TYPE_Q4_K, 1, 16 + 32 * 3 + 18, 0x05, 128 + 6 * 128 + 0 * 32 + 4 + 2, 0x50);  // column 210: the second half of part 6
  check_place(NB_TYPE_Q5_K, 3, 16 + 17, 0x20, 128 + 5 * 160 + 3 * 4 + 1, 0x10);       // column 17 = 4 * 4 + 1 of part 5
  check_place(NB_TYPE_IQ4_XS, 2, 4, 0x0f, 16 + 0 * 8 + 2, 0x0f);                      // the low bits of scale 0
  check_place(NB_TYPE_Q6_K, 5, 192 + 9, 0x81, 16 + 9 * 8 + 5, 0x81);                  // a signed scale
  check_place(NB_TYPE_Q6_K, 0, 6, 0x0b, 144 + 0 * 96 + 32 + 2, 0x0b);                 // column 6: word 1 of part 0
  check_place(NB_TYPE_Q6_K, 0, 12, 0x03, 144 + 0 * 96 + 0, 0xc0);                     // column 12: bits 0-1 of word 3, on top of word 0
  check_place(NB_TYPE_Q6_K, 0, 128 + 12, 0x03, 144 + 0 * 96 + 64, 0xc0);              // column 12: bits 4-5, on top of word 2
}

int main(void) {
  every_vector_decodes_to_the_same_bits();
  plain_floats_decode_to_themselves();
  packed_rows_decode_to_the_same_bits();
  packed_halves_decode_to_the_same_bits();
  large_halves_are_refused();
  packed_bytes_stand_where_the_description_says();
  return check_result();
}
