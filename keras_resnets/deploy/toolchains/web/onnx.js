// ONNX Runtime Web: opens the file, and runs it on an array of its own numbers.
import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";

export async function open(facts) {
  ort.env.wasm.wasmPaths = new URL("./node_modules/onnxruntime-web/dist/", location).href;
  ort.env.wasm.numThreads = 1; // more want cross-origin isolation of the server
  const session = await ort.InferenceSession.create(`./${facts.file}`);
  const kind = facts.input.dtype;
  return async (values) => {
    const tensor = new ort.Tensor(kind, values, facts.input.shape);
    const found = await session.run({ [session.inputNames[0]]: tensor });
    return found[session.outputNames[0]].data.slice();
  };
}
