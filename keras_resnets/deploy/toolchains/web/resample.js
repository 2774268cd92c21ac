// Pillow's resize and centre crop, and darknet's letterbox: a network's pixels of a photo,
// as `predict` makes them. The same numbers as Pillow's, to the bit.

const BITS = 22; // of Pillow's integer weights

const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
const FILTERS = {
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  bicubic: [2, (x) => {
    const a = -0.5;
    x = Math.abs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
  }],
  lanczos: [3, (x) => (Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0)],
};

// For each pixel of a line: where its sum begins, and its weights.
function weights(have, want, interpolation, start = 0, end = have) {
  start = Math.fround(start);
  const scale = Math.fround(Math.fround(end) - start) / want;
  const lines = [];
  for (let place = 0; place < want; place++) {
    const centre = start + (place + 0.5) * scale;
    if (interpolation === "nearest") {
      const first = Math.min(Math.floor(centre), have - 1);
      lines.push([first, Int32Array.of(1 << BITS)]);
      continue;
    }
    const [reach, filter] = FILTERS[interpolation];
    const wide = Math.max(scale, 1); // this smooths where it shrinks
    const first = Math.max(Math.trunc(centre - reach * wide + 0.5), 0);
    const last = Math.min(Math.trunc(centre + reach * wide + 0.5), have);
    const values = [];
    for (let x = first; x < last; x++) values.push(filter((x - centre + 0.5) / wide));
    const sum = values.reduce((a, b) => a + b, 0);
    const whole = values.map((x) => Math.trunc((x / sum) * 2 ** BITS + Math.sign(x) * 0.5));
    lines.push([first, Int32Array.from(whole)]);
  }
  return lines;
}

// Sums along one axis of RGB bytes, rounded as Pillow rounds.
function along(pixels, outer, step, inner, lines) {
  const made = new Uint8ClampedArray(outer.count * inner.count * lines.length * 3);
  for (let o = 0; o < outer.count; o++) {
    for (let p = 0; p < lines.length; p++) {
      const [first, factors] = lines[p];
      for (let i = 0; i < inner.count; i++) {
        const from = o * outer.step + i * inner.step + first * step;
        const to = o * outer.made + p * inner.row + i * inner.made;
        for (let c = 0; c < 3; c++) {
          let sum = 1 << (BITS - 1);
          for (let k = 0; k < factors.length; k++) sum += factors[k] * pixels[from + k * step + c];
          made[to + c] = sum >> BITS;
        }
      }
    }
  }
  return made;
}

function resized(pixels, height, width, rows, columns) {
  const wide = columns.length;
  const across = along(pixels, { count: height, step: width * 3, made: wide * 3 }, 3,
    { count: 1, step: 0, row: 3, made: 0 }, columns);
  return along(across, { count: 1, step: 0, made: 0 }, wide * 3,
    { count: wide, step: 3, row: wide * 3, made: 3 }, rows);
}

// Python rounds halves to the even number.
function even(x) {
  const low = Math.floor(x);
  if (x - low !== 0.5) return Math.round(x);
  return low % 2 === 0 ? low : low + 1;
}

function lines(have, whole, want, strip, interpolation) {
  const first = even((whole - want) / 2);
  if (!strip) return weights(have, whole, interpolation).slice(first, first + want);
  const scale = have / whole;
  return weights(have, want, interpolation, first * scale, (first + want) * scale);
}

// RGB bytes (height, width, 3) of a photo as floats or bytes of the network's size.
export function prepare(pixels, height, width, how) {
  if (how.letterbox) return letterbox(pixels, height, width, how.size);
  const have = [height, width];
  const sides = how.size.map((side) => Math.trunc(side / how.crop_fraction + 1e-6));
  const scale = Math.max(sides[0] / height, sides[1] / width);
  const whole = have.map((side, i) => Math.max(how.size[i], Math.trunc(side * scale + 1e-6)));
  const strip = whole[0] * whole[1] > 100 * how.size[0] * how.size[1];
  const [rows, columns] = have.map((side, i) =>
    lines(side, whole[i], how.size[i], strip, how.interpolation));
  return resized(pixels, height, width, rows, columns);
}

// The whole photo in a box of grey, corners on corners, not smoothed.
function letterbox(pixels, height, width, size) {
  const narrow = size[1] * height < size[0] * width;
  const fitted = narrow
    ? [Math.max(1, Math.floor((height * size[1]) / width)), size[1]]
    : [size[0], Math.max(1, Math.floor((width * size[0]) / height))];
  const place = (have, want) => Array.from({ length: want }, (_, i) => {
    const at = i * ((have - 1) / Math.max(want - 1, 1));
    const first = Math.min(Math.trunc(at), have - 1);
    return [first, Math.min(first + 1, have - 1), Math.fround(at - first)];
  });
  const [ys, xs] = [place(height, fitted[0]), place(width, fitted[1])];
  const [top, left] = [0, 1].map((i) => Math.floor((size[i] - fitted[i]) / 2));
  const made = new Float32Array(size[0] * size[1] * 3).fill(127.5);
  const at = (y, x, c) => pixels[(y * width + x) * 3 + c];
  ys.forEach(([y0, y1, down], y) => xs.forEach(([x0, x1, right], x) => {
    for (let c = 0; c < 3; c++) {
      const left0 = at(y0, x0, c) * (1 - down) + at(y1, x0, c) * down;
      const right0 = at(y0, x1, c) * (1 - down) + at(y1, x1, c) * down;
      made[((y + top) * size[1] + x + left) * 3 + c] = left0 * (1 - right) + right0 * right;
    }
  }));
  return made;
}

// What goes into the file: the pixels, or the normalized values.
export function normalize(pixels, how) {
  if (how.takes_pixels) return Uint8ClampedArray.from(pixels);
  const made = new Float32Array(pixels.length);
  for (let i = 0; i < pixels.length; i++) {
    const c = i % 3;
    const value = pixels[how.channel_order === "bgr" ? i + 2 - 2 * c : i];
    made[i] = Math.fround(Math.fround(Math.fround(value * Math.fround(how.scale))
      - Math.fround(how.mean[c])) / Math.fround(how.std[c]));
  }
  return made;
}
