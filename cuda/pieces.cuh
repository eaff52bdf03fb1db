// The part of a vector that begins or ends with it, by naturally aligned pieces.
#pragma once
#include "vector.cuh"

namespace xent {

// Pieces of 8, 4 and 2 bytes, those that are bits of `bytes`, one after the other from an end of
// the vector on.
struct Pieces {
  u32 bytes;    // less than 16
  bool at_end;  // from its end on backwards, else from its beginning on

  __device__ __forceinline__ bool has(u32 size) const { return bytes & size; }
  // Where the piece of so many bytes lies in the vector.
  __device__ __forceinline__ u32 offset(u32 size) const {
    const u32 larger = bytes & (16 - 2 * size);
    return at_end ? 16 - size - larger : larger;
  }
  // The words of a vector in the order of the pieces, and in that of the vector.
  __device__ __forceinline__ uint4 order(uint4 v) const {
    return make_uint4(at_end ? v.w : v.x, at_end ? v.z : v.y, at_end ? v.y : v.z,
                      at_end ? v.x : v.w);
  }
};

// `padding`: a word for what is not read.
template <class T>
__device__ __forceinline__ uint4 load_pieces(const char* at, const Pieces& pieces, u32 padding) {
  uint2 two = make_uint2(padding, padding);
  u32 one = padding, half = padding;
  if (pieces.has(8)) two = load8(at + pieces.offset(8));
  if (pieces.has(4)) one = load_bits(at + pieces.offset(4));
  if constexpr (sizeof(T) == 2) {
    if (pieces.has(2)) {
      const u32 bits = load_bits2(at + pieces.offset(2));
      half = pieces.at_end ? bits << 16 | (padding & 0xffff) : bits | (padding & 0xffff0000);
    }
  }
  const u32 next = pieces.has(4) ? one : half, last = pieces.has(4) ? half : padding;
  const u32 near = pieces.at_end ? two.y : two.x, far = pieces.at_end ? two.x : two.y;
  return pieces.order(pieces.has(8) ? make_uint4(near, far, next, last)
                                    : make_uint4(next, last, padding, padding));
}

template <class T>
__device__ __forceinline__ void store_pieces(T* vector, const Pieces& pieces, uint4 v) {
  char* at = reinterpret_cast<char*>(vector);
  const uint4 words = pieces.order(v);
  if (pieces.has(8)) {
    store8(at + pieces.offset(8), pieces.at_end ? make_uint2(v.z, v.w) : make_uint2(v.x, v.y));
  }
  if (pieces.has(4)) {
    store_bits(at + pieces.offset(4), pieces.has(8) ? words.z : words.x);
  }
  if constexpr (sizeof(T) == 2) {
    const u32 low = pieces.has(4) ? words.y : words.x, high = pieces.has(4) ? words.w : words.z;
    const u32 word = pieces.has(8) ? high : low;
    if (pieces.has(2)) store_bits2(at + pieces.offset(2), pieces.at_end ? word >> 16 : word);
  }
}

}  // namespace xent
