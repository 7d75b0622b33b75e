// The CRC-32 of zip archives, sixteen bytes in a step with the carry-less product of x86-64: zlib's
// takes two to three times as long. checksum.py is its caller, and has zlib where this has nothing.
//
// After V. Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ
// Instruction", Intel, 2009; the constants are its, for the polynomial 0xEDB88320 with its bits
// reversed.

#include <cstdint>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define WITH_PRODUCT __attribute__((target("pclmul,sse4.1")))

namespace {

WITH_PRODUCT inline __m128i load(const unsigned char *place) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i *>(place));
}

// `ahead` moved over as many bits as `shift` says, added to what stands there.
WITH_PRODUCT inline __m128i fold(__m128i ahead, __m128i shift, __m128i there) {
  const __m128i low = _mm_clmulepi64_si128(ahead, shift, 0x00);
  const __m128i high = _mm_clmulepi64_si128(ahead, shift, 0x11);
  return _mm_xor_si128(_mm_xor_si128(low, high), there);
}

} // namespace

extern "C" {

// Whether this CPU has what crc32_of_blocks needs.
int64_t has_crc32() { return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1"); }

// The CRC-32 goes on over `count` bytes, a multiple of 16 and at least 64.
WITH_PRODUCT uint32_t crc32_of_blocks(const unsigned char *bytes, int64_t count, uint32_t crc) {
  const __m128i by_512 = _mm_set_epi64x(0x1c6e41596, 0x154442bd4);
  const __m128i by_128 = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0);
  const __m128i by_64 = _mm_set_epi64x(0, 0x163cd6124);
  const __m128i polynomial = _mm_set_epi64x(0x1f7011641, 0x1db710641); // and its inverse
  const __m128i lower = _mm_setr_epi32(~0, 0, ~0, 0);

  __m128i part[4];
  for (int i = 0; i < 4; ++i)
    part[i] = load(bytes + 16 * i);
  part[0] = _mm_xor_si128(part[0], _mm_cvtsi32_si128(static_cast<int>(~crc)));
  const unsigned char *const end = bytes + count;
  for (bytes += 64; end - bytes >= 64; bytes += 64)
    for (int i = 0; i < 4; ++i)
      part[i] = fold(part[i], by_512, load(bytes + 16 * i));
  __m128i rest = part[0];
  for (int i = 1; i < 4; ++i)
    rest = fold(rest, by_128, part[i]);
  for (; bytes < end; bytes += 16)
    rest = fold(rest, by_128, load(bytes));

  rest = _mm_xor_si128(_mm_srli_si128(rest, 8), _mm_clmulepi64_si128(rest, by_128, 0x10));
  const __m128i upper = _mm_srli_si128(rest, 4);
  rest = _mm_xor_si128(_mm_clmulepi64_si128(_mm_and_si128(rest, lower), by_64, 0x00), upper);
  __m128i quotient = _mm_clmulepi64_si128(_mm_and_si128(rest, lower), polynomial, 0x10);
  quotient = _mm_clmulepi64_si128(_mm_and_si128(quotient, lower), polynomial, 0x00);
  return ~static_cast<uint32_t>(_mm_extract_epi32(_mm_xor_si128(rest, quotient), 1));
}

} // extern "C"

#else

extern "C" {
int64_t has_crc32() { return 0; }
uint32_t crc32_of_blocks(const unsigned char *, int64_t, uint32_t crc) { return crc; }
}

#endif
