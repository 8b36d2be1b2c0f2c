// IEEE binary16 and bfloat16 to and from float32, exact in both directions (round to nearest, ties to even; subnormals,
// infinities and NaN kept). Plain integer code: the same bits on every target.
#ifndef NB_BASE_HALF_H
#define NB_BASE_HALF_H

#include <stdint.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Nibble reads little-endian files in place and runs on little-endian machines only"
#endif

static inline float nb_bits_f32(uint32_t bits) { float f; memcpy(&f, &bits, sizeof f); return f; }
static inline uint32_t nb_f32_bits(float f) { uint32_t bits; memcpy(&bits, &f, sizeof bits); return bits; }

static inline float nb_f16_to_f32(uint16_t h) {
  const uint32_t sign = (uint32_t)(h & 0x8000u) << 16, mag = h & 0x7fffu;
  // Moves exponent and mantissa to their places with a bias that is 112 too small, then lets one multiplication by 2^112
  // correct it: this normalises subnormals exactly. Infinities and NaN need their exponent filled by hand.
  uint32_t bits = nb_f32_bits(nb_bits_f32(mag << 13) * 5192296858534827628530496329220096.0f /* 2^112 */);
  if (mag >= 0x7c00u) bits = 0x7f800000u | (mag & 0x3ffu) << 13;
  return nb_bits_f32(sign | bits);
}

static inline uint16_t nb_f32_to_f16(float f) {
  const uint32_t bits = nb_f32_bits(f), sign = bits >> 16 & 0x8000u, mag = bits & 0x7fffffffu;
  if (mag > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (mag >> 13 & 0x3ffu));
  if (mag >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);  // 65520 and above round to infinity
  if (mag < 0x38800000u) {
    // Below 2^-14: adding 0.5 leaves the mantissa in units of 2^-24, rounded to even by the hardware.
    return (uint16_t)(sign | (nb_f32_bits(nb_bits_f32(mag) + 0.5f) - 0x3f000000u));
  }
  return (uint16_t)(sign | ((mag - 0x38000000u + 0xfffu + (mag >> 13 & 1u)) >> 13));
}

static inline float nb_bf16_to_f32(uint16_t h) { return nb_bits_f32((uint32_t)h << 16); }

#endif
