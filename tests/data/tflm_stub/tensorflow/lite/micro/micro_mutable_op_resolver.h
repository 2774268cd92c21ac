// What our glue calls of TensorFlow Lite Micro, to compile it without TFLM's sources.
// With them: KERAS_RESNETS_TFLM names a folder of include folders (tests/README.md).
#pragma once

enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };

namespace tflite {

template <unsigned int kOperators>
class MicroMutableOpResolver {
 public:
  TfLiteStatus AddAdd() { return Add(); }
  TfLiteStatus AddConv2D() { return Add(); }
  TfLiteStatus AddFullyConnected() { return Add(); }
  TfLiteStatus AddLogistic() { return Add(); }
  TfLiteStatus AddMaxPool2D() { return Add(); }
  TfLiteStatus AddMean() { return Add(); }
  TfLiteStatus AddPad() { return Add(); }
  TfLiteStatus AddQuantize() { return Add(); }
  TfLiteStatus AddSoftmax() { return Add(); }

 private:
  TfLiteStatus Add() { return ++count_ > kOperators ? kTfLiteError : kTfLiteOk; }
  unsigned int count_ = 0;
};

}  // namespace tflite
