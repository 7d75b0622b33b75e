// CPU kernels for the steps of tiednmt/modules/gru.py, lstm.py and additive_attention.py, the
// losses of cross_entropy.py and disagreement.py, packed attention, dropout, what a decoding step
// does between its products, and the whole step of a small Transformer. They compute the formulas
// written there in torch, in one pass over data in the cache instead of one pass per operation.
// Called from cpu.py.
//
// They run on the threads of torch, whose OpenMP library they share. What a thread does to a row is
// compiled for several generations of CPUs; the one at hand is chosen when it is loaded.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>
#include <type_traits>
#include <vector>

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define MANY_CPUS
#define FOR_EVERY_CPU static __attribute__((noinline, target_clones("avx512f", "avx2", "default")))
#else
#define FOR_EVERY_CPU static
#endif
#define INLINED inline __attribute__((always_inline))
#define INLINE static INLINED

namespace {

// Rows of numbers; strides in numbers.
struct Matrix {
  void *data;
  int64_t outer, row;
};

template <class T> T *row_of(const Matrix &matrix, int64_t outer, int64_t row) {
  return static_cast<T *>(matrix.data) + outer * matrix.outer + row * matrix.row;
}

typedef uint16_t Rounded; // a bfloat16

INLINE float widen(Rounded number) {
  const uint32_t bits = static_cast<uint32_t>(number) << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof wide);
  return wide;
}

INLINE float widen(float number) { return number; }
INLINE double widen(double number) { return number; }

// To the nearest, halves to the even one.
INLINE void narrow(float number, Rounded &place) {
  uint32_t bits;
  std::memcpy(&bits, &number, sizeof bits);
  const uint32_t nearest = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  place = static_cast<Rounded>(number != number ? 0x7fc0 : nearest);
}

INLINE void narrow(float number, float &place) { place = number; }
INLINE void narrow(double number, double &place) { place = number; }

// 2ⁿ eʳ with the polynomial of the Cephes library's expf.
INLINE float exponential(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  const float whole = 12582912.0f; // added to it, a number is rounded to n in its lowest bits
  const float shifted = x * 1.44269504088896341f + whole;
  const float n = shifted - whole;
  const float r = x - n * 0.693359375f + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  uint32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits << 23) + (127u << 23);
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return p * power;
}

INLINE double exponential(double x) { return std::exp(x); }

template <class T> INLINE T sigmoid(T x) { return T(1) / (T(1) + exponential(-x)); }
INLINE float hyperbolic_tangent(float x) { return 2.0f * sigmoid(2.0f * x) - 1.0f; }
INLINE double hyperbolic_tangent(double x) { return std::tanh(x); }

template <class T>
FOR_EVERY_CPU void step_row(int64_t hidden, T *__restrict gates, const T *__restrict from_input,
                            const T *__restrict state, T *__restrict candidates,
                            T *__restrict out) {
#pragma omp simd
  for (int64_t j = 0; j < hidden; j++) {
    const T reset = sigmoid(gates[j] + from_input[j]);
    const T update = sigmoid(gates[hidden + j] + from_input[hidden + j]);
    const T recurrent = gates[2 * hidden + j];
    const T candidate = hyperbolic_tangent(from_input[2 * hidden + j] + reset * recurrent);
    gates[j] = reset;
    gates[hidden + j] = update;
    candidates[j] = candidate;
    out[j] = candidate + update * (state[j] - candidate);
  }
}

template <class T>
FOR_EVERY_CPU void step_back_row(int64_t hidden, const T *__restrict gates,
                                 const T *__restrict candidates, const T *__restrict before,
                                 T *__restrict grad, T *__restrict from_input,
                                 T *__restrict from_state) {
#pragma omp simd
  for (int64_t j = 0; j < hidden; j++) {
    const T reset = gates[j], update = gates[hidden + j], recurrent = gates[2 * hidden + j];
    const T candidate = candidates[j], after = grad[j];
    const T grad_candidate = after * (1 - update) * (1 - candidate * candidate);
    const T grad_update = after * (before[j] - candidate) * update * (1 - update);
    const T grad_reset = grad_candidate * recurrent * reset * (1 - reset);
    from_input[j] = from_state[j] = grad_reset;
    from_input[hidden + j] = from_state[hidden + j] = grad_update;
    from_input[2 * hidden + j] = grad_candidate;
    from_state[2 * hidden + j] = grad_candidate * reset;
    grad[j] = after * update;
  }
}

template <class T>
FOR_EVERY_CPU void lstm_step_row(int64_t hidden, T *__restrict gates, const T *__restrict before,
                                 T *__restrict cells, T *__restrict out) {
#pragma omp simd
  for (int64_t j = 0; j < hidden; j++) {
    const T enter = sigmoid(gates[j]), forget = sigmoid(gates[hidden + j]);
    const T candidate = hyperbolic_tangent(gates[2 * hidden + j]);
    const T leave = sigmoid(gates[3 * hidden + j]);
    const T cell = forget * before[j] + enter * candidate;
    gates[j] = enter;
    gates[hidden + j] = forget;
    gates[2 * hidden + j] = candidate;
    gates[3 * hidden + j] = leave;
    cells[j] = cell;
    out[j] = leave * hyperbolic_tangent(cell);
  }
}

template <class T>
FOR_EVERY_CPU void lstm_step_back_row(int64_t hidden, const T *__restrict gates,
                                      const T *__restrict before, const T *__restrict cells,
                                      const T *__restrict grad, T *__restrict grad_cell,
                                      T *__restrict grad_gates) {
#pragma omp simd
  for (int64_t j = 0; j < hidden; j++) {
    const T enter = gates[j], forget = gates[hidden + j];
    const T candidate = gates[2 * hidden + j], leave = gates[3 * hidden + j];
    const T squashed = hyperbolic_tangent(cells[j]), after = grad[j];
    const T of_cell = grad_cell[j] + after * leave * (1 - squashed * squashed);
    grad_gates[j] = of_cell * candidate * enter * (1 - enter);
    grad_gates[hidden + j] = of_cell * before[j] * forget * (1 - forget);
    grad_gates[2 * hidden + j] = of_cell * enter * (1 - candidate * candidate);
    grad_gates[3 * hidden + j] = after * squashed * leave * (1 - leave);
    grad_cell[j] = of_cell * forget;
  }
}

// tanh x is taken as 2σ(2x) − 1, and the constant is left out: see additive_attention.py.
struct AttentionSizes {
  int64_t length, size, width;
};

template <class T>
FOR_EVERY_CPU void attend_row(AttentionSizes n, const T *__restrict keys,
                              const T *__restrict annotations, const bool *__restrict padding,
                              const T *__restrict score, const T *__restrict query,
                              T *__restrict attention, T *__restrict context) {
  T most = -std::numeric_limits<T>::infinity();
  for (int64_t i = 0; i < n.length; i++) {
    if (padding[i])
      continue;
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n.size; j++)
      sum += sigmoid(2 * (keys[i * n.size + j] + query[j])) * score[j];
    attention[i] = 2 * sum;
    most = attention[i] > most ? attention[i] : most;
  }
  T total = 0;
  for (int64_t i = 0; i < n.length; i++) {
    attention[i] = padding[i] ? T(0) : exponential(attention[i] - most);
    total += attention[i];
  }
  std::fill(context, context + n.width, T(0));
  for (int64_t i = 0; i < n.length; i++) {
    const T weight = attention[i] /= total;
    if (padding[i])
      continue;
#pragma omp simd
    for (int64_t j = 0; j < n.width; j++)
      context[j] += weight * annotations[i * n.width + j];
  }
}

template <class T>
FOR_EVERY_CPU void
attend_back_row(AttentionSizes n, const T *__restrict keys, const T *__restrict annotations,
                const T *__restrict score, const T *__restrict query, const T *__restrict attention,
                const T *__restrict grad_context, T *__restrict grad_scores,
                T *__restrict grad_keys, T *__restrict grad_score, T *__restrict grad_query) {
  T mean = 0;
  for (int64_t i = 0; i < n.length; i++) {
    T sum = 0;
    if (attention[i] != 0) {
#pragma omp simd reduction(+ : sum)
      for (int64_t j = 0; j < n.width; j++)
        sum += grad_context[j] * annotations[i * n.width + j];
    }
    grad_scores[i] = sum;
    mean += attention[i] * sum;
  }
  std::fill(grad_query, grad_query + n.size, T(0));
  for (int64_t i = 0; i < n.length; i++) {
    const T grad = 2 * attention[i] * (grad_scores[i] - mean);
    if (attention[i] == 0)
      continue;
#pragma omp simd
    for (int64_t j = 0; j < n.size; j++) {
      const T energy = sigmoid(2 * (keys[i * n.size + j] + query[j]));
      const T slope = 2 * grad * energy * (1 - energy);
      grad_score[j] += grad * energy;
      grad_keys[i * n.size + j] += slope;
      grad_query[j] += slope * score[j];
    }
  }
}

FOR_EVERY_CPU void add_row(int64_t columns, const float *addend, const Rounded *__restrict product,
                           float *out) {
#pragma omp simd
  for (int64_t j = 0; j < columns; j++)
    out[j] = addend[j] + widen(product[j]);
}

// log Σ exp
template <class T> FOR_EVERY_CPU T log_partition_of_row(int64_t vocab, const T *__restrict scores) {
  T most = -std::numeric_limits<T>::infinity(), total = 0;
#pragma omp simd reduction(max : most)
  for (int64_t j = 0; j < vocab; j++)
    most = scores[j] > most ? scores[j] : most;
#pragma omp simd reduction(+ : total)
  for (int64_t j = 0; j < vocab; j++)
    total += exponential(scores[j] - most);
  return most + std::log(total);
}

// Of a sentence's continuations, the best so far.
template <class T> struct Best {
  T *sums;         // count of them, falling
  int64_t *places; // row * vocab + entry
  int64_t count;

  void insert(T sum, int64_t place) {
    int64_t i = count - 1;
    for (; i > 0 && sums[i - 1] < sum; i--) {
      sums[i] = sums[i - 1];
      places[i] = places[i - 1];
    }
    sums[i] = sum;
    places[i] = place;
  }
};

constexpr int64_t LOOKED_AT = 64; // scores of which only the highest is looked at first

template <class T> FOR_EVERY_CPU T highest(const T *__restrict scores) {
  T most = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : most)
  for (int64_t j = 0; j < LOOKED_AT; j++)
    most = scores[j] > most ? scores[j] : most;
  return most;
}

// The continuations of one row, whose log-probability so far is `base`.
template <class T>
void best_of_row(int64_t vocab, const T *scores, T base, int64_t first_place, Best<T> best) {
  for (int64_t start = 0; start < vocab; start += LOOKED_AT) {
    const int64_t end = std::min(start + LOOKED_AT, vocab);
    if (end - start == LOOKED_AT && !(highest(scores + start) + base > best.sums[best.count - 1]))
      continue;
    for (int64_t j = start; j < end; j++)
      if (scores[j] + base > best.sums[best.count - 1])
        best.insert(scores[j] + base, first_place + j);
  }
}

// A row as whole numbers of 8 bits, and the scale that makes them the row again.
template <class T, class Whole>
FOR_EVERY_CPU void round_row(int64_t columns, const T *__restrict row, Whole *__restrict whole,
                             T *__restrict scale) {
  T most = 0, zero = 0; // or no number, if one of them is none
#pragma omp simd reduction(max : most) reduction(+ : zero)
  for (int64_t j = 0; j < columns; j++) {
    most = std::fabs(row[j]) > most ? std::fabs(row[j]) : most;
    zero += row[j] * T(0);
  }
  const T unit = *scale = std::max(most / T(127), std::numeric_limits<T>::min()) + zero;
#pragma omp simd
  for (int64_t j = 0; j < columns; j++)
    whole[j] = static_cast<Whole>(std::nearbyint(row[j] / unit));
}

// In place: `row` holds whole numbers of this type before.
template <class Whole, class T>
FOR_EVERY_CPU void rescale_row(int64_t columns, T row_scale, const T *__restrict scale,
                               const T *__restrict bias, T *__restrict row) {
#pragma omp simd
  for (int64_t j = 0; j < columns; j++) {
    Whole whole;
    std::memcpy(&whole, row + j, sizeof whole);
    row[j] = bias[j] + static_cast<T>(whole) * row_scale * scale[j];
  }
}

// What a token's scores over the vocabulary come to.
template <class T> struct TokenLoss {
  T nll, uniform; // −log p[gold] and −Σ_v log p[v]
};

struct Smoothing {
  double of_target, of_others; // 1 − ε − σ and σ
};

// The gradient of the loss replaces the products, unless there is no `grad_bias` to add it to.
template <class T, class P>
FOR_EVERY_CPU TokenLoss<T>
loss_of_row(int64_t vocab, P *__restrict products, const T *__restrict bias, int64_t gold, T counts,
            Smoothing smoothing, T *__restrict scores, T *__restrict grad_bias) {
  T most = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : most)
  for (int64_t j = 0; j < vocab; j++) {
    scores[j] = widen(products[j]) + bias[j];
    most = scores[j] > most ? scores[j] : most;
  }
  const T gold_score = scores[gold] - most;
  T total = 0, all_scores = 0;
#pragma omp simd reduction(+ : total, all_scores)
  for (int64_t j = 0; j < vocab; j++) {
    const T score = scores[j] - most;
    const T power = exponential(score);
    all_scores += score;
    total += power;
    scores[j] = power;
  }
  const T log_total = std::log(total);
  const TokenLoss<T> loss = {log_total - gold_score, vocab * log_total - all_scores};
  if (!grad_bias)
    return loss;
  const T scale = counts / total, less = counts * T(smoothing.of_others);
  scores[gold] -= total * T(smoothing.of_target);
#pragma omp simd
  for (int64_t j = 0; j < vocab; j++) {
    const T grad = scores[j] * scale - less;
    grad_bias[j] += grad;
    narrow(grad, products[j]);
  }
  return loss;
}

// `half` of KL(p‖q) and of KL(q‖p) of two rows of scores; `p` and `q` get the sum's gradients.
template <class T, class P>
FOR_EVERY_CPU T divergence_of_rows(int64_t vocab, const P *__restrict p_products,
                                   const P *__restrict q_products, const T *__restrict bias, T half,
                                   T *__restrict p, T *__restrict q, T *__restrict ratio) {
  T most_p = -std::numeric_limits<T>::infinity(), most_q = most_p;
#pragma omp simd reduction(max : most_p, most_q)
  for (int64_t j = 0; j < vocab; j++) {
    p[j] = widen(p_products[j]) + bias[j];
    q[j] = widen(q_products[j]) + bias[j];
    most_p = p[j] > most_p ? p[j] : most_p;
    most_q = q[j] > most_q ? q[j] : most_q;
  }
  T total_p = 0, total_q = 0, from_p = 0, from_q = 0;
#pragma omp simd reduction(+ : total_p, total_q, from_p, from_q)
  for (int64_t j = 0; j < vocab; j++) {
    const T score_p = p[j] - most_p, score_q = q[j] - most_q;
    const T power_p = exponential(score_p), power_q = exponential(score_q);
    ratio[j] = score_p - score_q;
    total_p += power_p;
    total_q += power_q;
    from_p += power_p * ratio[j];
    from_q -= power_q * ratio[j];
    p[j] = power_p;
    q[j] = power_q;
  }
  const T shift = std::log(total_p) - std::log(total_q);
  const T kl_p = from_p / total_p - shift, kl_q = from_q / total_q + shift;
#pragma omp simd
  for (int64_t j = 0; j < vocab; j++) {
    const T share_p = p[j] / total_p, share_q = q[j] / total_q, log_ratio = ratio[j] - shift;
    p[j] = half * (share_p * (log_ratio - kl_p + 1) - share_q);
    q[j] = half * (share_q * (1 - log_ratio - kl_q) - share_p);
  }
  return half * (kl_p + kl_q);
}

constexpr int64_t LANES = 64, DROPPED_AT_ONCE = 8 * LANES;

// Salmon et al. (2011), "Parallel Random Numbers: As Easy as 1, 2, 3": Philox4x32-10 of the
// counters from `first` on. Word w of counter first + i is words[w * LANES + i]. Words stand in 64
// bits, as products of them need: compilers widen and narrow between the rounds else.
FOR_EVERY_CPU void philox(uint64_t seed, uint64_t first, uint32_t *__restrict words) {
  constexpr uint64_t word = 0xffffffff;
#pragma omp simd
  for (int64_t i = 0; i < LANES; i++) {
    uint64_t c0 = (first + i) & word, c1 = (first + i) >> 32, c2 = 0, c3 = 0;
    uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < 10; round++) {
      const uint64_t one = 0xD2511F53ull * c0, two = 0xCD9E8D57ull * c2;
      c0 = (two >> 32) ^ c1 ^ k0;
      c1 = two & word;
      c2 = (one >> 32) ^ c3 ^ k1;
      c3 = one & word;
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    words[i] = static_cast<uint32_t>(c0);
    words[LANES + i] = static_cast<uint32_t>(c1);
    words[2 * LANES + i] = static_cast<uint32_t>(c2);
    words[3 * LANES + i] = static_cast<uint32_t>(c3);
  }
}

template <class T>
FOR_EVERY_CPU void drop_some(int64_t count, const uint16_t *__restrict levels, int64_t threshold,
                             T scale, const T *__restrict numbers, T *__restrict out) {
#pragma omp simd
  for (int64_t j = 0; j < count; j++)
    out[j] = levels[j] >= threshold ? numbers[j] * scale : T(0);
}

// Attention among the rows of sentences: every query of a sentence over all its keys, head by head.
// Products are small (sentences have some ten to a hundred tokens), so that what counts is to read
// queries, keys and values where they are. The backward pass computes the weights again.

template <class T> struct Lanes { // numbers that are computed at once
  static constexpr int64_t count = 64 / sizeof(T);
};

template <class T> INLINE int64_t in_whole_lanes(int64_t numbers) {
  return (numbers + Lanes<T>::count - 1) / Lanes<T>::count * Lanes<T>::count;
}

template <class T> struct Factor { // of a product; strides in numbers
  T *data;
  int64_t row, column;
};

// The lanes as registers of so many bytes. GCC keeps a vector that is wider than the registers of
// its target in memory, and a product would take several times as long.
template <class T, int BYTES> struct Registers {
  static constexpr int count = 64 / BYTES;
  typedef T Vector __attribute__((vector_size(BYTES)));
  Vector parts[count];

  // All lanes, or the first `bytes` of them.
  template <bool WHOLE = true> INLINED void read(const T *numbers, int64_t bytes = 64) {
#pragma GCC unroll 4
    for (int i = 0; i < count; i++)
      std::memcpy(&parts[i], numbers + i * in_one, WHOLE ? BYTES : bytes_of(i, bytes));
  }

  template <bool WHOLE = true> INLINED void write(T *numbers, int64_t bytes = 64) const {
#pragma GCC unroll 4
    for (int i = 0; i < count; i++)
      std::memcpy(numbers + i * in_one, &parts[i], WHOLE ? BYTES : bytes_of(i, bytes));
  }

  INLINED void add(T factor, const Registers &others) {
#pragma GCC unroll 4
    for (int i = 0; i < count; i++)
      parts[i] += factor * others.parts[i];
  }

  // += numbers * others, lane by lane
  INLINED void add_products(const Registers &numbers, const Registers &others) {
#pragma GCC unroll 4
    for (int i = 0; i < count; i++)
      parts[i] += numbers.parts[i] * others.parts[i];
  }

  INLINED T sum() const {
    Vector folded = parts[0];
#pragma GCC unroll 4
    for (int i = 1; i < count; i++)
      folded += parts[i];
    T numbers[in_one];
    std::memcpy(numbers, &folded, BYTES);
#pragma GCC unroll 4
    for (int half = in_one / 2; half; half /= 2)
#pragma omp simd
      for (int j = 0; j < half; j++)
        numbers[j] += numbers[j + half];
    return numbers[0];
  }

private:
  static constexpr int in_one = BYTES / sizeof(T);

  INLINE int64_t bytes_of(int part, int64_t bytes) {
    return std::min<int64_t>(std::max<int64_t>(bytes - part * BYTES, 0), BYTES);
  }
};

// out[i] (+)= Σ_k left[i, k] right[k] for some rows, at most the lanes wide.
template <class T, int BYTES, int ROWS, bool WHOLE>
INLINE void multiply_tile(int64_t inner, Factor<const T> left, Factor<const T> right, int64_t width,
                          bool adds, Factor<T> out) {
  const int64_t bytes = width * sizeof(T);
  Registers<T, BYTES> sums[ROWS] = {};
  if (adds) {
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++)
      sums[i].template read<WHOLE>(out.data + i * out.row, bytes);
  }
  for (int64_t k = 0; k < inner; k++) {
    Registers<T, BYTES> row = {};
    row.template read<WHOLE>(right.data + k * right.row, bytes);
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++)
      sums[i].add(left.data[i * left.row + k * left.column], row);
  }
#pragma GCC unroll 6
  for (int i = 0; i < ROWS; i++)
    sums[i].template write<WHOLE>(out.data + i * out.row, bytes);
}

template <class T, int BYTES, bool WHOLE>
INLINE void multiply_tiles(int64_t rows, int64_t inner, Factor<const T> left, Factor<const T> right,
                           int64_t width, bool adds, Factor<T> out) {
  for (; rows >= 6; rows -= 6, left.data += 6 * left.row, out.data += 6 * out.row)
    multiply_tile<T, BYTES, 6, WHOLE>(inner, left, right, width, adds, out);
  if (rows == 5)
    multiply_tile<T, BYTES, 5, WHOLE>(inner, left, right, width, adds, out);
  if (rows == 4)
    multiply_tile<T, BYTES, 4, WHOLE>(inner, left, right, width, adds, out);
  if (rows == 3)
    multiply_tile<T, BYTES, 3, WHOLE>(inner, left, right, width, adds, out);
  if (rows == 2)
    multiply_tile<T, BYTES, 2, WHOLE>(inner, left, right, width, adds, out);
  if (rows == 1)
    multiply_tile<T, BYTES, 1, WHOLE>(inner, left, right, width, adds, out);
}

// Does work with registers as wide as those of the CPU at hand: calls Work::run<bytes>(given…).
template <class Work, class... Given> void with_narrow_registers(Given... given) {
  Work::template run<16>(given...);
}

#ifdef MANY_CPUS
template <class Work, class... Given>
__attribute__((target("avx2,fma"))) void with_fma(Given... given) {
  Work::template run<32>(given...);
}

template <class Work, class... Given>
__attribute__((target("avx512f"))) void with_avx512(Given... given) {
  Work::template run<64>(given...);
}

// AVX2 alone does not multiply and add at once, and some old CPUs know FMA without AVX2.
template <class Work, class... Given> void (*of_this_cpu())(Given...) {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f"))
    return with_avx512<Work, Given...>;
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
             ? with_fma<Work, Given...>
             : with_narrow_registers<Work, Given...>;
}
#else
template <class Work, class... Given> void (*of_this_cpu())(Given...) {
  return with_narrow_registers<Work, Given...>;
}
#endif

template <class Work, class... Given> void with_registers(Given... given) {
  static const auto run = of_this_cpu<Work, Given...>();
  run(given...);
}

struct Multiply {
  template <int BYTES, class T>
  INLINE void run(int64_t rows, int64_t columns, int64_t inner, Factor<const T> left,
                  Factor<const T> right, bool adds, Factor<T> out) {
    constexpr int64_t lanes = Lanes<T>::count;
    for (; columns >= lanes; columns -= lanes, right.data += lanes, out.data += lanes)
      multiply_tiles<T, BYTES, true>(rows, inner, left, right, lanes, adds, out);
    if (columns)
      multiply_tiles<T, BYTES, false>(rows, inner, left, right, columns, adds, out);
  }
};

// out (+)= left right, whose rows are contiguous in `right` and `out`.
template <class T>
void multiply(int64_t rows, int64_t columns, int64_t inner, Factor<const T> left,
              Factor<const T> right, bool adds, Factor<T> out) {
  with_registers<Multiply>(rows, columns, inner, left, right, adds, out);
}

// Rows of scores fill whole lanes. Loops over one after another, of constant length, spare the
// compiler what it does about alignment and ends, which would be all of a short row.

// In halves: one after another would wait for each sum.
template <class T> INLINE T sum_of_lanes(T *__restrict numbers) {
#pragma GCC unroll 4
  for (int64_t half = Lanes<T>::count / 2; half; half /= 2)
#pragma omp simd
    for (int64_t j = 0; j < half; j++)
      numbers[j] += numbers[j + half];
  return numbers[0];
}

template <class T> INLINE T highest_of_lanes(T *__restrict numbers) {
#pragma GCC unroll 4
  for (int64_t half = Lanes<T>::count / 2; half; half /= 2)
#pragma omp simd
    for (int64_t j = 0; j < half; j++)
      numbers[j] = numbers[j + half] > numbers[j] ? numbers[j + half] : numbers[j];
  return numbers[0];
}

// The first `keys` of scores become weights, the others 0.
template <class T>
FOR_EVERY_CPU void weigh_row(int64_t keys, int64_t width, T scale, T *__restrict scores) {
  constexpr int64_t lanes = Lanes<T>::count;
  const T lowest = -std::numeric_limits<T>::infinity();
  T most_of[lanes], total_of[lanes] = {};
  std::fill_n(most_of, lanes, lowest);
  for (int64_t start = 0; start < width; start += lanes)
#pragma omp simd
    for (int64_t j = 0; j < lanes; j++) {
      const T score = start + j < keys ? scores[start + j] : lowest;
      most_of[j] = score > most_of[j] ? score : most_of[j];
    }
  const T most = highest_of_lanes(most_of);
  for (int64_t start = 0; start < width; start += lanes)
#pragma omp simd
    for (int64_t j = 0; j < lanes; j++) {
      const T power = exponential((scores[start + j] - most) * scale);
      scores[start + j] = start + j < keys ? power : T(0);
      total_of[j] += scores[start + j];
    }
  const T share = 1 / sum_of_lanes(total_of);
  for (int64_t start = 0; start < width; start += lanes)
#pragma omp simd
    for (int64_t j = 0; j < lanes; j++)
      scores[start + j] *= share;
}

// The gradient of what the weights become with dropout is made that of the scores.
template <class T>
FOR_EVERY_CPU void weigh_back_row(int64_t width, T scale, const T *__restrict weights,
                                  const T *__restrict dropped, T *__restrict grad) {
  constexpr int64_t lanes = Lanes<T>::count;
  T mean_of[lanes] = {};
  for (int64_t start = 0; start < width; start += lanes)
#pragma omp simd
    for (int64_t j = 0; j < lanes; j++)
      mean_of[j] += dropped[start + j] * grad[start + j];
  const T mean = sum_of_lanes(mean_of);
  for (int64_t start = 0; start < width; start += lanes)
#pragma omp simd
    for (int64_t j = start; j < start + lanes; j++)
      grad[j] = scale * (dropped[j] * grad[j] - weights[j] * mean);
}

template <class T>
FOR_EVERY_CPU void drop_lanes(int64_t width, const uint16_t *__restrict levels, int64_t threshold,
                              T scale, const T *__restrict weights, T *__restrict out) {
  constexpr int64_t lanes = Lanes<T>::count;
  for (int64_t start = 0; start < width; start += lanes)
#pragma omp simd
    for (int64_t j = start; j < start + lanes; j++)
      out[j] = levels[j] >= threshold ? weights[j] * scale : T(0);
}

// Four columns of four rows become rows.
INLINE void transpose_four(const float *const rows[4], float *out, int64_t stride) {
  typedef float Four __attribute__((vector_size(16)));
  Four a, b, c, d;
  std::memcpy(&a, rows[0], sizeof a);
  std::memcpy(&b, rows[1], sizeof b);
  std::memcpy(&c, rows[2], sizeof c);
  std::memcpy(&d, rows[3], sizeof d);
  const Four ab = {a[0], b[0], a[1], b[1]}, ab_behind = {a[2], b[2], a[3], b[3]};
  const Four cd = {c[0], d[0], c[1], d[1]}, cd_behind = {c[2], d[2], c[3], d[3]};
  a = Four{ab[0], ab[1], cd[0], cd[1]};
  b = Four{ab[2], ab[3], cd[2], cd[3]};
  c = Four{ab_behind[0], ab_behind[1], cd_behind[0], cd_behind[1]};
  d = Four{ab_behind[2], ab_behind[3], cd_behind[2], cd_behind[3]};
  std::memcpy(out, &a, sizeof a);
  std::memcpy(out + stride, &b, sizeof b);
  std::memcpy(out + 2 * stride, &c, sizeof c);
  std::memcpy(out + 3 * stride, &d, sizeof d);
}

INLINE void transpose_four(const double *const rows[4], double *out, int64_t stride) {
  for (int64_t k = 0; k < 4; k++)
    for (int64_t j = 0; j < 4; j++)
      out[k * stride + j] = rows[j][k];
}

// Columns of `count` rows become rows, zeros behind them up to whole lanes.
template <class T>
FOR_EVERY_CPU void transpose(int64_t count, int64_t size, const T *rows, int64_t row, T *out,
                             int64_t stride) {
  static const T zeros[4] = {};
  const int64_t in_fours = size / 4 * 4;
  for (int64_t j = 0; j < in_whole_lanes<T>(count); j += 4) {
    const T *four[4];
    int64_t step[4];
    for (int64_t i = 0; i < 4; i++) {
      four[i] = j + i < count ? rows + (j + i) * row : zeros;
      step[i] = j + i < count ? 4 : 0;
    }
    for (int64_t k = 0; k < in_fours; k += 4) {
      transpose_four(four, out + k * stride + j, stride);
      for (int64_t i = 0; i < 4; i++)
        four[i] += step[i];
    }
    for (int64_t k = in_fours; k < size; k++)
      for (int64_t i = 0; i < 4; i++)
        out[k * stride + j + i] = j + i < count ? rows[(j + i) * row + k] : T(0);
  }
}

struct Dropout {
  uint64_t seed;
  int64_t threshold; // 0: nothing is dropped
  double scale;
};

// One head of one sentence.
template <class T> class Attention {
public:
  static constexpr int64_t AT_ONCE = 24; // queries

  // `place`: which of all heads of all sentences it is; `scratch` is made as large as is needed.
  Attention(int64_t queries, int64_t keys, int64_t size, bool causal, Dropout dropout,
            int64_t place, std::vector<T> &scratch)
      : queries(queries), keys(keys), size(size), causal(causal), dropout(dropout), place(place),
        stride(in_whole_lanes<T>(keys) | Lanes<T>::count) { // odd: else few lines would hold all
    const size_t needed = (2 * size + 3 * AT_ONCE) * stride;
    if (scratch.size() < needed)
      scratch.resize(needed);
    transposed[0] = scratch.data();
    transposed[1] = transposed[0] + size * stride;
    weights = transposed[1] + size * stride;
    dropped = dropout.threshold ? weights + AT_ONCE * stride : weights;
    grad = weights + 2 * AT_ONCE * stride;
  }

  void forward(Factor<const T> query, Factor<const T> key, Factor<const T> value, Factor<T> out) {
    transpose(keys, size, key.data, key.row, transposed[0], stride);
    for (int64_t start = 0; start < queries; start += AT_ONCE) {
      const int64_t rows = std::min(AT_ONCE, queries - start);
      const int64_t seen = weigh(start, rows, query);
      multiply<T>(rows, size, seen, {dropped, stride, 1}, value, false, from(out, start));
    }
  }

  void backward(Factor<const T> query, Factor<const T> key, Factor<const T> value,
                Factor<const T> grad_out, Factor<T> grad_query, Factor<T> grad_key,
                Factor<T> grad_value) {
    transpose(keys, size, key.data, key.row, transposed[0], stride);
    transpose(keys, size, value.data, value.row, transposed[1], stride);
    for (int64_t j = 0; j < keys; j++) {
      std::fill_n(grad_key.data + j * grad_key.row, size, T(0));
      std::fill_n(grad_value.data + j * grad_value.row, size, T(0));
    }
    for (int64_t start = 0; start < queries; start += AT_ONCE) {
      const int64_t rows = std::min(AT_ONCE, queries - start);
      const int64_t seen = weigh(start, rows, query), width = in_whole_lanes<T>(seen);
      const Factor<const T> of_out = from(grad_out, start);
      multiply<T>(seen, size, rows, {dropped, 1, stride}, of_out, true, grad_value);
      multiply<T>(rows, width, size, of_out, {transposed[1], stride, 1}, false, {grad, stride, 1});
      for (int64_t i = 0; i < rows; i++)
        weigh_back_row(width, scale(), weights + i * stride, dropped + i * stride,
                       grad + i * stride);
      multiply<T>(rows, size, seen, {grad, stride, 1}, key, false, from(grad_query, start));
      multiply<T>(seen, size, rows, {grad, 1, stride}, from(query, start), true, grad_key);
    }
  }

private:
  int64_t queries, keys, size;
  bool causal;
  Dropout dropout;
  int64_t place, stride;
  T *transposed[2], *weights, *dropped, *grad;

  template <class N> static Factor<N> from(Factor<N> rows, int64_t start) {
    return {rows.data + start * rows.row, rows.row, rows.column};
  }

  T scale() const { return T(1) / std::sqrt(T(size)); }

  // Makes the weights of some queries, with dropout too; how many keys they are of.
  int64_t weigh(int64_t start, int64_t rows, Factor<const T> query) {
    const int64_t seen = causal ? std::min(keys, start + rows) : keys;
    const int64_t width = in_whole_lanes<T>(seen);
    multiply<T>(rows, width, size, from(query, start), {transposed[0], stride, 1}, false,
                {weights, stride, 1});
    for (int64_t i = 0; i < rows; i++)
      weigh_row(causal ? std::min(keys, start + i + 1) : keys, width, scale(),
                weights + i * stride);
    if (dropout.threshold)
      drop_weights(start, rows, width);
    return seen;
  }

  // One random number for each place of a query and a key, the latter in whole lanes.
  void drop_weights(int64_t start, int64_t rows, int64_t width) {
    const int64_t all = in_whole_lanes<T>(keys);
    const uint64_t head = static_cast<uint64_t>(place) << 32; // counters before it are of others
    uint32_t words[4 * LANES];
    uint16_t levels[DROPPED_AT_ONCE];
    int64_t chunk = -1;
    for (int64_t i = 0; i < rows; i++)
      for (int64_t j = 0; j < width;) {
        const int64_t at = (start + i) * all + j, within = at % DROPPED_AT_ONCE;
        if (at / DROPPED_AT_ONCE != chunk) {
          chunk = at / DROPPED_AT_ONCE;
          philox(dropout.seed, head + chunk * LANES, words);
          std::memcpy(levels, words, sizeof levels);
        }
        const int64_t count = std::min(width - j, DROPPED_AT_ONCE - within), k = i * stride + j;
        drop_lanes(count, levels + within, dropout.threshold, T(dropout.scale), weights + k,
                   dropped + k);
        j += count;
      }
  }
};

// One token of a hypothesis attends to keys and values at places of its own.
struct AttendPlaces {
  struct Sizes {
    int64_t heads, size, length, aligned; // `length` places, of which some count
  };

  // `weights`: room for those of all heads, each in whole lanes.
  template <int BYTES, class T>
  INLINE void run(Sizes n, int64_t count, const int64_t *places, const T *query,
                  Factor<const T> keys, Factor<const T> values, T *weights, T *out, T *aligned) {
    const int64_t width = in_whole_lanes<T>(count);
    for (int64_t i = 0; i < count; i++) { // row by row, as they lie in memory
      const T *key = keys.data + places[i] * keys.row;
      prefetch(n.heads * n.size, values.data + places[i] * values.row);
      for (int64_t head = 0; head < n.heads; head++)
        weights[head * width + i] = dot<BYTES>(n.size, query + head * n.size, key + head * n.size);
    }
    if (aligned)
      std::fill_n(aligned, n.length, T(0));
    for (int64_t head = 0; head < n.heads; head++) {
      T *of_head = weights + head * width;
      weigh_row(count, width, 1 / std::sqrt(T(n.size)), of_head);
      for (int64_t i = 0; i < count && head < n.aligned; i++)
        aligned[i] += of_head[i] / T(n.aligned);
      add_up<BYTES>(n.size, count, places, of_head, values.data + head * n.size, values.row,
                    out + head * n.size);
    }
  }

private:
  template <class T> INLINE void prefetch(int64_t count, const T *numbers) {
    for (int64_t j = 0; j < count; j += Lanes<T>::count)
      __builtin_prefetch(numbers + j);
  }

  template <int BYTES, class T> INLINE T dot(int64_t size, const T *one, const T *other) {
    constexpr int64_t lanes = Lanes<T>::count;
    const int64_t whole = size / lanes * lanes;
    Registers<T, BYTES> sums = {}, left, right;
    for (int64_t j = 0; j < whole; j += lanes) {
      left.read(one + j);
      right.read(other + j);
      sums.add_products(left, right);
    }
    T sum = sums.sum();
    for (int64_t j = whole; j < size; j++)
      sum += one[j] * other[j];
    return sum;
  }

  template <int BYTES, class T>
  INLINE void add_up(int64_t size, int64_t count, const int64_t *places, const T *weights,
                     const T *values, int64_t stride, T *out) {
    constexpr int64_t lanes = Lanes<T>::count;
    const int64_t whole = size / lanes * lanes;
    for (int64_t j = 0; j < whole; j += lanes) {
      Registers<T, BYTES> sums = {}, row;
      for (int64_t i = 0; i < count; i++) {
        row.read(values + places[i] * stride + j);
        sums.add(weights[i], row);
      }
      sums.write(out + j);
    }
    for (int64_t j = whole; j < size; j++) {
      T sum = 0;
      for (int64_t i = 0; i < count; i++)
        sum += weights[i] * values[places[i] * stride + j];
      out[j] = sum;
    }
  }
};

// Layer normalisation (Ba et al. 2016); `out` may be the row.
template <class T>
FOR_EVERY_CPU void normalise_row(int64_t size, T eps, const T *gain, const T *bias, const T *row,
                                 T *out) {
  T mean = 0, variance = 0;
#pragma omp simd reduction(+ : mean)
  for (int64_t j = 0; j < size; j++)
    mean += row[j];
  mean /= T(size);
#pragma omp simd reduction(+ : variance)
  for (int64_t j = 0; j < size; j++)
    variance += (row[j] - mean) * (row[j] - mean);
  const T scale = 1 / std::sqrt(variance / T(size) + eps);
#pragma omp simd
  for (int64_t j = 0; j < size; j++)
    out[j] = (row[j] - mean) * scale * gain[j] + bias[j];
}

template <class T> FOR_EVERY_CPU void add_to(int64_t count, const T *numbers, T *sums) {
#pragma omp simd
  for (int64_t j = 0; j < count; j++)
    sums[j] += numbers[j];
}

template <class T> FOR_EVERY_CPU void rectify(int64_t count, T *numbers) {
#pragma omp simd
  for (int64_t j = 0; j < count; j++)
    numbers[j] = numbers[j] < 0 ? T(0) : numbers[j]; // what is no number stays none
}

struct Attending { // of all sentences
  int64_t sentences, heads, size, threads;
  bool causal;
  Dropout dropout;
};

// Calls work(attention, query, key, column) for every head of every sentence: the first rows of its
// queries and keys, and the first column of the head.
template <class T, class Work>
void for_each_head(const int64_t *query_starts, const int64_t *key_starts, Attending n, Work work) {
  const int64_t heads = n.sentences * n.heads;
#pragma omp parallel for schedule(static) num_threads(n.threads)
  for (int64_t thread = 0; thread < n.threads; thread++) {
    std::vector<T> scratch;
    const int64_t end = heads * (thread + 1) / n.threads;
    for (int64_t i = heads * thread / n.threads; i < end; i++) {
      const int64_t *queries = query_starts + i / n.heads, *keys = key_starts + i / n.heads;
      Attention<T> attention(queries[1] - queries[0], keys[1] - keys[0], n.size, n.causal,
                             n.dropout, i, scratch);
      work(attention, queries[0], keys[0], i % n.heads * n.size);
    }
  }
}

template <class T> Factor<T> part_of(const Matrix &matrix, int64_t row, int64_t column) {
  return {row_of<typename std::remove_const<T>::type>(matrix, 0, row) + column, matrix.row, 1};
}

template <class T> Factor<T> rows_of(const Matrix &matrix, int64_t outer) {
  return {row_of<typename std::remove_const<T>::type>(matrix, outer, 0), matrix.row, 1};
}

template <class T> void attend_rows(const Matrix *m, Attending n) {
  for_each_head<T>(row_of<int64_t>(m[3], 0, 0), row_of<int64_t>(m[4], 0, 0), n,
                   [=](Attention<T> &attention, int64_t query, int64_t key, int64_t column) {
                     attention.forward(
                         part_of<const T>(m[0], query, column), part_of<const T>(m[1], key, column),
                         part_of<const T>(m[2], key, column), part_of<T>(m[5], query, column));
                   });
}

template <class T> void attend_rows_back(const Matrix *m, Attending n) {
  for_each_head<T>(row_of<int64_t>(m[3], 0, 0), row_of<int64_t>(m[4], 0, 0), n,
                   [=](Attention<T> &attention, int64_t query, int64_t key, int64_t column) {
                     attention.backward(
                         part_of<const T>(m[0], query, column), part_of<const T>(m[1], key, column),
                         part_of<const T>(m[2], key, column), part_of<const T>(m[5], query, column),
                         part_of<T>(m[6], query, column), part_of<T>(m[7], key, column),
                         part_of<T>(m[8], key, column));
                   });
}

template <class Work> void for_each_row(int64_t batch, int64_t rows, int64_t numbers, Work work) {
  [[maybe_unused]] const bool worth_threads = batch * rows * numbers > 1 << 13; // without OpenMP
#pragma omp parallel for schedule(static) if (worth_threads)
  for (int64_t i = 0; i < batch * rows; i++)
    work(i / rows, i % rows);
}

template <class T> void step(const Matrix *m, int64_t batch, int64_t rows, int64_t hidden) {
  for_each_row(batch, rows, hidden, [=](int64_t b, int64_t k) {
    step_row(hidden, row_of<T>(m[0], b, k), row_of<T>(m[1], b, k), row_of<T>(m[2], b, k),
             row_of<T>(m[3], b, k), row_of<T>(m[4], b, k));
  });
}

template <class T> void step_back(const Matrix *m, int64_t batch, int64_t rows, int64_t hidden) {
  for_each_row(batch, rows, hidden, [=](int64_t b, int64_t k) {
    step_back_row(hidden, row_of<T>(m[0], b, k), row_of<T>(m[1], b, k), row_of<T>(m[2], b, k),
                  row_of<T>(m[3], b, k), row_of<T>(m[4], b, k), row_of<T>(m[5], b, k));
  });
}

template <class T> void lstm_step(const Matrix *m, int64_t batch, int64_t rows, int64_t hidden) {
  for_each_row(batch, rows, hidden, [=](int64_t b, int64_t k) {
    lstm_step_row(hidden, row_of<T>(m[0], b, k), row_of<T>(m[1], b, k), row_of<T>(m[2], b, k),
                  row_of<T>(m[3], b, k));
  });
}

template <class T>
void lstm_step_back(const Matrix *m, int64_t batch, int64_t rows, int64_t hidden) {
  for_each_row(batch, rows, hidden, [=](int64_t b, int64_t k) {
    lstm_step_back_row(hidden, row_of<T>(m[0], b, k), row_of<T>(m[1], b, k), row_of<T>(m[2], b, k),
                       row_of<T>(m[3], b, k), row_of<T>(m[4], b, k), row_of<T>(m[5], b, k));
  });
}

template <class T> void attend(const Matrix *m, int64_t batch, int64_t rows, AttentionSizes n) {
  for_each_row(batch, rows, n.length * n.size, [=](int64_t b, int64_t k) {
    attend_row(n, row_of<T>(m[0], b, 0), row_of<T>(m[1], b, 0), row_of<bool>(m[2], 0, b),
               row_of<T>(m[3], 0, 0), row_of<T>(m[4], b, k), row_of<T>(m[5], b, k),
               row_of<T>(m[6], b, k));
  });
}

// One query attends to places of its own among keys and values.
template <class T>
void attend_to(AttendPlaces::Sizes n, int64_t count, const int64_t *places, const T *query,
               Factor<const T> keys, Factor<const T> values, T *out, T *aligned) {
  static thread_local std::vector<T> weights;
  weights.resize(n.heads * in_whole_lanes<T>(n.length));
  with_registers<AttendPlaces>(n, count, places, query, keys, values, weights.data(), out, aligned);
}

bool are_within(const Matrix &places, int64_t batch, int64_t rows, int64_t length, int64_t end) {
  for (int64_t b = 0; b < batch; b++)
    for (int64_t k = 0; k < rows; k++) {
      const int64_t *of_row = row_of<int64_t>(places, b, k);
      if (std::any_of(of_row, of_row + length, [=](int64_t i) { return i < 0 || i >= end; }))
        return false;
    }
  return true;
}

bool are_counts(const int64_t *counts, int64_t batch, int64_t most) {
  return std::all_of(counts, counts + batch, [=](int64_t i) { return i > 0 && i <= most; });
}

// Returns 1 if a place is none of the keys, and 2 if a count is none.
template <class T>
int64_t attend_places(const Matrix *m, int64_t batch, int64_t rows, int64_t keys,
                      AttendPlaces::Sizes n) {
  const int64_t *counts = row_of<int64_t>(m[4], 0, 0);
  if (!are_within(m[3], batch, rows, n.length, keys))
    return 1;
  if (!are_counts(counts, batch, n.length))
    return 2;
  for_each_row(batch, rows, n.length * n.heads * n.size, [=](int64_t b, int64_t k) {
    attend_to<T>(n, counts[b], row_of<int64_t>(m[3], b, k), row_of<T>(m[0], b, k),
                 rows_of<const T>(m[1], b), rows_of<const T>(m[2], b), row_of<T>(m[5], b, k),
                 n.aligned ? row_of<T>(m[6], b, k) : nullptr);
  });
  return 0;
}

// A product's weight and bias, or a norm's gain and bias. The weight stands in panels of as many
// columns as there are lanes, one panel after another, so that it is read as it lies in memory.
// With a scale for each column the weight has whole numbers of 8 bits, and so is what it is
// multiplied with: see Int8Linear of tiednmt/modules/frozen_linear.py. Their products are summed
// exactly.
template <class T> struct Affine {
  const T *weight, *bias, *scale;
};

template <class T>
void transform(int64_t rows, int64_t inner, int64_t columns, Affine<T> by, const T *from, T *out) {
  constexpr int64_t lanes = Lanes<T>::count;
  std::vector<T> whole(by.scale ? rows * inner : 0), scales(by.scale ? rows : 0);
  if (by.scale) {
    for (int64_t i = 0; i < rows; i++)
      round_row(inner, from + i * inner, whole.data() + i * inner, &scales[i]);
    from = whole.data();
  }
  [[maybe_unused]] const bool worth_threads = rows * inner * columns > 1 << 18; // without OpenMP
#pragma omp parallel for schedule(static) if (worth_threads)
  for (int64_t j = 0; j < columns; j += lanes) {
    const int64_t width = std::min(lanes, columns - j);
    const Factor<const T> panel = {by.weight + j * inner, lanes, 1};
    if (by.scale) {
      multiply<T>(rows, width, inner, {from, inner, 1}, panel, false, {out + j, columns, 1});
      for (int64_t i = 0; i < rows; i++)
        rescale_row<T>(width, scales[i], by.scale + j, by.bias + j, out + i * columns + j);
    } else {
      for (int64_t i = 0; i < rows; i++)
        std::copy_n(by.bias + j, width, out + i * columns + j);
      multiply<T>(rows, width, inner, {from, inner, 1}, panel, true, {out + j, columns, 1});
    }
  }
}

// Two products and a norm. Self-attention: queries, keys and values; output. Attention to the
// source: queries; output. Feed-forward network: both layers.
template <class T> struct Sublayer {
  Affine<T> first, second, norm;
};

// As DecoderWeights of cpu.py lays them out.
template <class T> struct LayerWeights {
  Sublayer<T> own, source, feed_forward;
};

struct StepSizes {
  int64_t batch, beam, size, heads, inner; // `inner`: of the feed-forward networks
  int64_t first, length, source_length;    // where the tokens' keys are put; places attended to
  int64_t aligned_heads, aligned_layer;    // whose attention to the source is wanted
  int64_t layers, normalises_before;
};

// The last tokens of few hypotheses go through the layers of a Transformer's decoder, in less time
// than torch takes to call its operations. See DecoderLayer.step of
// tiednmt/modules/transformer_layers.py.
template <class T> struct DecoderStep {
  const StepSizes n;
  const T eps;
  T *const rows;
  const int64_t count = n.batch * n.beam;
  std::vector<T> room = std::vector<T>(count * (2 * n.size + std::max(3 * n.size, n.inner)));
  T *const update = room.data(), *const context = update + count * n.size,
           *const wide = context + count * n.size;

  const T *read(Affine<T> norm) {
    if (!n.normalises_before)
      return rows;
    for (int64_t i = 0; i < count * n.size; i += n.size)
      normalise_row(n.size, eps, norm.weight, norm.bias, rows + i, update + i);
    return update;
  }

  void add(Affine<T> norm) {
    add_to(count * n.size, update, rows);
    if (n.normalises_before)
      return;
    for (int64_t i = 0; i < count * n.size; i += n.size)
      normalise_row(n.size, eps, norm.weight, norm.bias, rows + i, rows + i);
  }

  void attend_to_own(const Sublayer<T> &by, const Matrix &keys, const Matrix &values,
                     const Matrix &slots) {
    transform(count, n.size, 3 * n.size, by.first, read(by.norm), wide);
    for (int64_t i = 0; i < count; i++) {
      const int64_t b = i / n.beam, place = n.first + i % n.beam;
      const T *key = wide + (3 * i + 1) * n.size;
      std::copy_n(key, n.size, row_of<T>(keys, b, place));
      std::copy_n(key + n.size, n.size, row_of<T>(values, b, place));
    }
    for_each_row(n.batch, n.beam, n.length * n.size, [&](int64_t b, int64_t k) {
      const int64_t i = b * n.beam + k;
      attend_to<T>({n.heads, n.size / n.heads, n.length, 0}, n.length, row_of<int64_t>(slots, b, k),
                   wide + 3 * i * n.size, rows_of<const T>(keys, b), rows_of<const T>(values, b),
                   context + i * n.size, nullptr);
    });
    transform(count, n.size, n.size, by.second, context, update);
    add(by.norm);
  }

  void attend_to_source(const Sublayer<T> &by, const Matrix &keys, const Matrix &values,
                        const int64_t *lengths, const int64_t *places, const Matrix *attention) {
    transform(count, n.size, n.size, by.first, read(by.norm), wide);
    const AttendPlaces::Sizes sizes = {n.heads, n.size / n.heads, n.source_length,
                                       attention ? n.aligned_heads : 0};
    for_each_row(n.batch, n.beam, n.source_length * n.size, [&](int64_t b, int64_t k) {
      const int64_t i = b * n.beam + k;
      attend_to<T>(sizes, lengths[b], places, wide + i * n.size, rows_of<const T>(keys, b),
                   rows_of<const T>(values, b), context + i * n.size,
                   attention ? row_of<T>(*attention, b, k) : nullptr);
    });
    transform(count, n.size, n.size, by.second, context, update);
    add(by.norm);
  }

  void feed_forward(const Sublayer<T> &by) {
    transform(count, n.size, n.inner, by.first, read(by.norm), wide);
    rectify(count * n.inner, wide);
    transform(count, n.inner, n.size, by.second, wide, update);
    add(by.norm);
  }
};

// Returns what attend_places does.
template <class T>
int64_t decoder_step(const Matrix *m, const StepSizes &n, const LayerWeights<T> *by, double eps) {
  const Matrix &slots = m[1], &attention = m[3];
  const int64_t *lengths = row_of<int64_t>(m[2], 0, 0);
  if (!are_within(slots, n.batch, n.beam, n.length, n.first + n.beam))
    return 1;
  if (!are_counts(lengths, n.batch, n.source_length))
    return 2;
  std::vector<int64_t> places(n.source_length);
  std::iota(places.begin(), places.end(), 0);
  DecoderStep<T> step = {n, T(eps), row_of<T>(m[0], 0, 0)};
  m += 4;
  for (int64_t layer = 0; layer < n.layers; layer++, by++, m += 4) {
    step.attend_to_own(by->own, m[0], m[1], slots);
    step.attend_to_source(by->source, m[2], m[3], lengths, places.data(),
                          layer == n.aligned_layer ? &attention : nullptr);
    step.feed_forward(by->feed_forward);
  }
  return 0;
}

template <class T> void log_partition(const Matrix *m, int64_t batch, int64_t rows, int64_t vocab) {
  for_each_row(batch, rows, vocab, [=](int64_t b, int64_t k) {
    *row_of<T>(m[1], b, k) = log_partition_of_row(vocab, row_of<T>(m[0], b, k));
  });
}

template <class T>
void best(const Matrix *m, int64_t batch, int64_t rows, int64_t vocab, int64_t count) {
  for_each_row(batch, 1, rows * vocab, [=](int64_t b, int64_t) {
    const Best<T> best = {row_of<T>(m[2], 0, b), row_of<int64_t>(m[3], 0, b), count};
    std::fill(best.sums, best.sums + count, -std::numeric_limits<T>::infinity());
    for (int64_t i = 0; i < count; i++)
      best.places[i] = i;
    for (int64_t k = 0; k < rows; k++)
      best_of_row(vocab, row_of<T>(m[0], b, k), row_of<T>(m[1], 0, b)[k], k * vocab, best);
  });
}

void round_rows(const Matrix *m, int64_t rows, int64_t columns) {
  for_each_row(1, rows, columns, [=](int64_t, int64_t k) {
    round_row(columns, row_of<float>(m[0], 0, k), row_of<int8_t>(m[1], 0, k),
              row_of<float>(m[2], 0, k));
  });
}

void rescale(const Matrix *m, int64_t rows, int64_t columns) {
  for_each_row(1, rows, columns, [=](int64_t, int64_t k) {
    rescale_row<int32_t>(columns, *row_of<float>(m[0], 0, k), row_of<float>(m[1], 0, 0),
                         row_of<float>(m[2], 0, 0), row_of<float>(m[3], 0, k));
  });
}

template <class T> void attend_back(const Matrix *m, int64_t rows, AttentionSizes n) {
  for_each_row(1, rows, n.length * n.size, [=](int64_t, int64_t k) {
    attend_back_row(n, row_of<T>(m[0], k, 0), row_of<T>(m[1], k, 0), row_of<T>(m[2], 0, 0),
                    row_of<T>(m[3], 0, k), row_of<T>(m[4], 0, k), row_of<T>(m[5], 0, k),
                    row_of<T>(m[6], 0, k), row_of<T>(m[7], k, 0), row_of<T>(m[8], 0, k),
                    row_of<T>(m[9], 0, k));
  });
}

void add(const Matrix *m, int64_t rows, int64_t columns) {
  for_each_row(1, rows, columns, [=](int64_t, int64_t k) {
    add_row(columns, row_of<float>(m[0], 0, k), row_of<Rounded>(m[1], 0, k),
            row_of<float>(m[2], 0, k));
  });
}

// What is kept depends on the seed and the place alone.
template <class T>
void drop(const Matrix *m, int64_t count, uint64_t seed, int64_t threshold, double scale) {
  const int64_t chunks = (count + DROPPED_AT_ONCE - 1) / DROPPED_AT_ONCE;
  for_each_row(1, chunks, DROPPED_AT_ONCE, [=](int64_t, int64_t k) {
    uint32_t words[4 * LANES];
    uint16_t levels[DROPPED_AT_ONCE];
    philox(seed, k * LANES, words);
    std::memcpy(levels, words, sizeof levels);
    const int64_t start = k * DROPPED_AT_ONCE;
    drop_some(std::min(DROPPED_AT_ONCE, count - start), levels, threshold, T(scale),
              row_of<T>(m[0], 0, 0) + start, row_of<T>(m[1], 0, 0) + start);
  });
}

// Each thread adds up the gradient of the bias over its tokens in a row of its own.
template <class T, class P>
void loss(const Matrix *m, int64_t tokens, int64_t vocab, int64_t threads, bool differentiate,
          Smoothing smoothing) {
  const int64_t *gold = row_of<int64_t>(m[2], 0, 0);
  const T *bias = row_of<T>(m[1], 0, 0), *counts = row_of<T>(m[3], 0, 0);
  T *nll = row_of<T>(m[4], 0, 0), *uniform = row_of<T>(m[5], 0, 0);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t thread = 0; thread < threads; thread++) {
    T *scores = row_of<T>(m[6], 0, thread);
    T *grad_bias = differentiate ? row_of<T>(m[7], 0, thread) : nullptr;
    const int64_t end = tokens * (thread + 1) / threads;
    for (int64_t i = tokens * thread / threads; i < end; i++) {
      const TokenLoss<T> found = loss_of_row(vocab, row_of<P>(m[0], 0, i), bias, gold[i], counts[i],
                                             smoothing, scores, grad_bias);
      nll[i] = found.nll;
      uniform[i] = found.uniform;
    }
  }
}

template <class T, class P>
void divergence(const Matrix *m, int64_t pairs, int64_t vocab, int64_t threads) {
  const T *bias = row_of<T>(m[1], 0, 0), *counts = row_of<T>(m[2], 0, 0);
  T *found = row_of<T>(m[3], 0, 0);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t thread = 0; thread < threads; thread++) {
    const int64_t end = pairs * (thread + 1) / threads;
    for (int64_t i = pairs * thread / threads; i < end; i++)
      found[i] = divergence_of_rows(vocab, row_of<P>(m[0], 0, 2 * i), row_of<P>(m[0], 0, 2 * i + 1),
                                    bias, counts[2 * i] / 2, row_of<T>(m[4], 0, 2 * i),
                                    row_of<T>(m[4], 0, 2 * i + 1), row_of<T>(m[5], 0, thread));
  }
}

} // namespace

// What cpu.py calls; the matrices stand in the order of the arguments there.
#define EXPORT(T)                                                                                  \
  void step_##T(const Matrix *m, int64_t batch, int64_t rows, int64_t hidden) {                    \
    step<T>(m, batch, rows, hidden);                                                               \
  }                                                                                                \
  void step_back_##T(const Matrix *m, int64_t batch, int64_t rows, int64_t hidden) {               \
    step_back<T>(m, batch, rows, hidden);                                                          \
  }                                                                                                \
  void lstm_step_##T(const Matrix *m, int64_t batch, int64_t rows, int64_t hidden) {               \
    lstm_step<T>(m, batch, rows, hidden);                                                          \
  }                                                                                                \
  void lstm_step_back_##T(const Matrix *m, int64_t batch, int64_t rows, int64_t hidden) {          \
    lstm_step_back<T>(m, batch, rows, hidden);                                                     \
  }                                                                                                \
  void attend_##T(const Matrix *m, int64_t batch, int64_t rows, int64_t length, int64_t size,      \
                  int64_t width) {                                                                 \
    attend<T>(m, batch, rows, {length, size, width});                                              \
  }                                                                                                \
  void attend_back_##T(const Matrix *m, int64_t rows, int64_t length, int64_t size,                \
                       int64_t width) {                                                            \
    attend_back<T>(m, rows, {length, size, width});                                                \
  }                                                                                                \
  int64_t attend_places_##T(const Matrix *m, int64_t batch, int64_t rows, int64_t keys,            \
                            int64_t heads, int64_t size, int64_t length, int64_t aligned) {        \
    return attend_places<T>(m, batch, rows, keys, {heads, size, length, aligned});                 \
  }                                                                                                \
  int64_t decoder_step_##T(const Matrix *m, const StepSizes *sizes, const LayerWeights<T> *by,     \
                           double eps) {                                                           \
    return decoder_step<T>(m, *sizes, by, eps);                                                    \
  }                                                                                                \
  void log_partition_##T(const Matrix *m, int64_t batch, int64_t rows, int64_t vocab) {            \
    log_partition<T>(m, batch, rows, vocab);                                                       \
  }                                                                                                \
  void best_##T(const Matrix *m, int64_t batch, int64_t rows, int64_t vocab, int64_t count) {      \
    best<T>(m, batch, rows, vocab, count);                                                         \
  }                                                                                                \
  void drop_##T(const Matrix *m, int64_t count, int64_t seed, int64_t threshold, double scale) {   \
    drop<T>(m, count, seed, threshold, scale);                                                     \
  }                                                                                                \
  void attend_rows_##T(const Matrix *m, int64_t sentences, int64_t heads, int64_t size,            \
                       int64_t threads, int64_t causal, int64_t seed, int64_t threshold,           \
                       double scale) {                                                             \
    const Dropout dropout = {static_cast<uint64_t>(seed), threshold, scale};                       \
    attend_rows<T>(m, {sentences, heads, size, threads, causal != 0, dropout});                    \
  }                                                                                                \
  void attend_rows_back_##T(const Matrix *m, int64_t sentences, int64_t heads, int64_t size,       \
                            int64_t threads, int64_t causal, int64_t seed, int64_t threshold,      \
                            double scale) {                                                        \
    const Dropout dropout = {static_cast<uint64_t>(seed), threshold, scale};                       \
    attend_rows_back<T>(m, {sentences, heads, size, threads, causal != 0, dropout});               \
  }

extern "C" {
// To be raised, with VERSION of cpu.py, whenever a kernel takes or computes something else.
int64_t kernels_version() { return 13; }
EXPORT(float)
EXPORT(double)
void add_rounded(const Matrix *m, int64_t rows, int64_t columns) { add(m, rows, columns); }
void round_rows_float(const Matrix *m, int64_t rows, int64_t columns) {
  round_rows(m, rows, columns);
}
void rescale_float(const Matrix *m, int64_t rows, int64_t columns) { rescale(m, rows, columns); }
void loss_float(const Matrix *m, int64_t tokens, int64_t vocab, int64_t threads,
                int64_t differentiate, double of_target, double of_others) {
  loss<float, float>(m, tokens, vocab, threads, differentiate != 0, {of_target, of_others});
}
void loss_double(const Matrix *m, int64_t tokens, int64_t vocab, int64_t threads,
                 int64_t differentiate, double of_target, double of_others) {
  loss<double, double>(m, tokens, vocab, threads, differentiate != 0, {of_target, of_others});
}
void loss_rounded(const Matrix *m, int64_t tokens, int64_t vocab, int64_t threads,
                  int64_t differentiate, double of_target, double of_others) {
  loss<float, Rounded>(m, tokens, vocab, threads, differentiate != 0, {of_target, of_others});
}
void divergence_float(const Matrix *m, int64_t pairs, int64_t vocab, int64_t threads) {
  divergence<float, float>(m, pairs, vocab, threads);
}
void divergence_double(const Matrix *m, int64_t pairs, int64_t vocab, int64_t threads) {
  divergence<double, double>(m, pairs, vocab, threads);
}
void divergence_rounded(const Matrix *m, int64_t pairs, int64_t vocab, int64_t threads) {
  divergence<float, Rounded>(m, pairs, vocab, threads);
}
}
