// See micro_mutable_op_resolver.h.
#pragma once

namespace tflite {

struct Model;
inline const Model* GetModel(const void* content) {
  return static_cast<const Model*>(content);
}

}  // namespace tflite
