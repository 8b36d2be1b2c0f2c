// SHA-256 against the examples of FIPS 180-4, in every cutting of the input.
#include "../../src/base/sha256.h"
#include "check.h"

static void hex(const uint8_t digest[32], char out[65]) {
  for (int i = 0; i < 32; i++) snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

static void check_hash(const void *bytes, size_t n, size_t cut, const char *expected) {
  nb_sha256 s;
  uint8_t digest[32];
  char found[65];
  nb_sha256_init(&s);
  nb_sha256_update(&s, bytes, cut);
  nb_sha256_update(&s, (const uint8_t *)bytes + cut, n - cut);
  nb_sha256_final(&s, digest);
  hex(digest, found);
  CHECK_STR(found, expected);
}

static void every_cut(const char *text, const char *expected) {
  for (size_t cut = 0; cut <= strlen(text); cut++) check_hash(text, strlen(text), cut, expected);
}

static void million(size_t piece) {
  static uint8_t as[1000];
  memset(as, 'a', sizeof as);
  nb_sha256 s;
  uint8_t digest[32];
  char found[65];
  nb_sha256_init(&s);
  for (size_t left = 1000000; left;) {
    const size_t n = left < piece ? left : piece;
    nb_sha256_update(&s, as, n);
    left -= n;
  }
  nb_sha256_final(&s, digest);
  hex(digest, found);
  CHECK_STR(found, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

// A length of every residue, where the padding needs one block or two: each cutting gives what the whole gives.
static void lengths(void) {
  static uint8_t bytes[200];
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 7 + 1);
  for (size_t n = 0; n <= sizeof bytes; n++) {
    nb_sha256 s;
    uint8_t whole[32], pieces[32];
    nb_sha256_init(&s);
    nb_sha256_update(&s, bytes, n);
    nb_sha256_final(&s, whole);
    nb_sha256_init(&s);
    for (size_t i = 0; i < n; i++) nb_sha256_update(&s, bytes + i, 1);
    nb_sha256_final(&s, pieces);
    CHECK(memcmp(whole, pieces, 32) == 0);
  }
}

int main(void) {
  every_cut("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  every_cut("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  every_cut("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  every_cut("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
            "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
  const size_t pieces[] = {1, 63, 64, 65, 1000};
  for (size_t i = 0; i < 5; i++) million(pieces[i]);
  lengths();
  return check_result();
}
