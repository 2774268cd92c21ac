// LiteRT.js: opens the file, and runs it on an array of its own numbers.
import { loadAndCompile, loadLiteRt, Tensor } from "@litertjs/core";

export async function open(facts) {
  await loadLiteRt("./node_modules/@litertjs/core/wasm/");
  const model = await loadAndCompile(`./${facts.file}`, { accelerator: "wasm" });
  return async (values) => {
    const tensor = new Tensor(values, facts.input.shape);
    const outputs = await model.run(tensor);
    const made = outputs[0].toTypedArray().slice();
    tensor.delete();
    outputs.forEach((output) => output.delete());
    return made;
  };
}
