// Disk blocks to the layout that the kernels read fastest.
#include "pack.h"

#include <assert.h>

#include "kernels.h"

nb_layout nb_pack_layout(nb_type type, size_t rows, size_t cols) {
  return type == NB_TYPE_Q4_0 && rows > 0 && rows % NB_X8_ROWS == 0 && cols % 32 == 0 ? NB_LAYOUT_X8 : NB_LAYOUT_ROWS;
}

size_t nb_pack_group_rows(nb_layout layout) { return layout == NB_LAYOUT_X8 ? NB_X8_ROWS : 1; }

void nb_pack_group(nb_type type, nb_layout layout, size_t row_bytes, uint8_t *window, uint8_t *scratch) {
  if (layout == NB_LAYOUT_ROWS) return;
  assert(type == NB_TYPE_Q4_0 && layout == NB_LAYOUT_X8 && row_bytes % sizeof(nb_block_q4_0) == 0);
  (void)type;
  memcpy(scratch, window, row_bytes * NB_X8_ROWS);
  const size_t blocks = row_bytes / sizeof(nb_block_q4_0);
  for (size_t b = 0; b < blocks; b++) {
    uint8_t *packed = window + b * NB_X8_Q4_0_BYTES;
    for (size_t r = 0; r < NB_X8_ROWS; r++) {
      const uint8_t *block = scratch + r * row_bytes + b * sizeof(nb_block_q4_0);
      memcpy(packed + 2 * r, block, 2);
      for (size_t g = 0; g < 4; g++) memcpy(packed + NB_X8_Q4_0_WORDS + 32 * g + 4 * r, block + 2 + 4 * g, 4);
    }
  }
}
