// The page: a photo or the camera in, the five likeliest classes out, or all labels.
import { open } from "./runtime.js";
import { normalize, prepare } from "./resample.js";

const element = (id) => document.getElementById(id);
const facts = await (await fetch("./model.json")).json();
const how = facts.preprocessing;
let run = null;

// The file's own numbers of real ones, and back.
function quantized(values, { dtype, scale, zero }) {
  if (dtype === "float32") return Float32Array.from(values);
  if (!scale) return Uint8Array.from(values);
  return Uint8Array.from(values, (x) =>
    Math.min(255, Math.max(0, Math.round(Math.fround(x / Math.fround(scale))) + zero)));
}

const real = (values, { dtype, scale, zero }) =>
  Float32Array.from(values, (x) => (dtype === "float32" || !scale ? x : (x - zero) * scale));

// Outputs of the file for inputs as it takes them: what proves it calls this.
async function outputs(values) {
  return real(await run(quantized(values, facts.input)), facts.output);
}

async function rgb(source) {
  const bitmap = await createImageBitmap(source, { colorSpaceConversion: "none" });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
  const pixels = new Uint8Array((data.length / 4) * 3);
  for (let i = 0, j = 0; i < data.length; i += 4, j += 3) {
    pixels[j] = data[i];
    pixels[j + 1] = data[i + 1];
    pixels[j + 2] = data[i + 2];
  }
  return [pixels, bitmap.height, bitmap.width];
}

function probabilities(values) {
  if (facts.probabilities) return Array.from(values);
  if (facts.thresholds) return Array.from(values, (x) => 1 / (1 + Math.exp(-x)));
  const most = Math.max(...values);
  const powers = Array.from(values, (x) => Math.exp(x - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((x) => x / sum);
}

async function classify(source) {
  const [pixels, height, width] = await rgb(source);
  const begun = performance.now();
  const given = normalize(prepare(pixels, height, width, how), how);
  const prepared = performance.now();
  const values = await outputs(given);
  const ended = performance.now();
  return {
    values: Array.from(values),
    scores: probabilities(values),
    preparing: prepared - begun,
    running: ended - prepared,
  };
}

// The five likeliest classes as [score, index]; where an image may have several labels,
// all that reach their thresholds.
function answers(scores) {
  const order = scores.map((score, index) => [score, index]);
  order.sort((a, b) => b[0] - a[0]);
  if (!facts.thresholds) return order.slice(0, 5);
  return order.filter(([score, index]) => score >= Math.fround(facts.thresholds[index]));
}

function show(found) {
  const said = answers(found.scores);
  element("none").hidden = said.length > 0;
  const rows = said.map(([score, index]) => {
    const row = element("row").content.firstElementChild.cloneNode(true);
    row.querySelector(".name").textContent = facts.labels[index];
    row.querySelector(".score").textContent = `${(100 * score).toFixed(1)} %`;
    row.querySelector(".bar").style.width = `${100 * score}%`;
    return row;
  });
  element("answers").replaceChildren(...rows);
  element("time").textContent =
    `${found.running.toFixed(1)} ms to run, ${found.preparing.toFixed(1)} ms to resize`;
}

async function take(file) {
  if (!file) return;
  element("note").textContent = "";
  document.body.dataset.state = "busy";
  try {
    const found = await classify(file);
    const image = element("photo");
    URL.revokeObjectURL(image.src);
    image.src = URL.createObjectURL(file);
    await image.decode();
    stopCamera();
    show(found);
    document.body.dataset.state = "answered";
  } catch (error) {
    element("note").textContent = `This is no image that a browser can read: ${error.message}`;
    document.body.dataset.state = "failed";
  }
}

let stream = null;
function stopCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  document.body.classList.remove("camera");
  element("camera").textContent = "Use the camera";
}

async function toggleCamera() {
  if (stream) return stopCamera();
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    element("note").textContent = `The camera cannot be used: ${error.message}`;
    return;
  }
  element("video").srcObject = stream;
  await element("video").play();
  document.body.classList.add("camera");
  element("camera").textContent = "Stop the camera";
  while (stream) {
    show(await classify(element("video")));
    await new Promise((resolve) => requestAnimationFrame(resolve));
  }
}

element("title").textContent = facts.name;
document.title = `${facts.name}: classify a photo`;
element("file").addEventListener("change", (event) => take(event.target.files[0]));
element("camera").addEventListener("click", toggleCamera);
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
addEventListener("dragleave", () => document.body.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  take(event.dataTransfer.files[0]);
});

try {
  run = await open(facts);
  element("runtime").textContent = facts.words;
  document.body.dataset.state = "ready";
} catch (error) {
  element("note").textContent = `The network cannot be opened: ${error.message}`;
  document.body.dataset.state = "failed";
}
window.network = { classify, outputs, probabilities, answers, prepare, normalize, facts, take };
