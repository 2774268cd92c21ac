// See micro_mutable_op_resolver.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

namespace tflite {

struct Model;

class MicroInterpreter {
 public:
  template <class Resolver>
  MicroInterpreter(const Model*, const Resolver&, uint8_t* arena, std::size_t size)
      : arena_(arena), size_(size) {}
  TfLiteStatus AllocateTensors() { return kTfLiteOk; }
  TfLiteStatus Invoke() { return kTfLiteOk; }
  template <class T>
  T* typed_input_tensor(int) { return reinterpret_cast<T*>(arena_); }
  template <class T>
  T* typed_output_tensor(int) { return reinterpret_cast<T*>(arena_); }
  std::size_t arena_used_bytes() const { return size_; }

 private:
  uint8_t* arena_;
  std::size_t size_;
};

}  // namespace tflite
