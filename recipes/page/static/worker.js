// The model, off the page's thread. Takes {channels, degrees}, says {done} on the way and {target, rest} at the end.

import * as ort from "./ort.wasm.bundle.min.mjs";

ort.env.wasm.numThreads = 1; // more need headers that a plain file server does not send
ort.env.wasm.wasmPaths = { wasm: new URL("./ort-wasm-simd-threaded.wasm", import.meta.url).href };

const about = await (await fetch("./model.json")).json();
const session = await ort.InferenceSession.create(new URL("./model.onnx", import.meta.url).href, { executionProviders: ["wasm"] });
postMessage({ ready: true });

// As the command does it: parts that see their surroundings, crossfaded where they meet.
async function separate(channels, degrees) {
  const { stride_samples: stride, step_samples: step } = about;
  const context = Math.ceil(about.context_samples / stride) * stride;
  const length = channels[0].length;
  const target = channels.map(() => new Float32Array(length));
  for (let start = 0; start < length; start += step) {
    const [first, end] = [Math.max(0, start - context), Math.min(length, start + step + stride + context)];
    const size = end - first;
    const seen = new Float32Array(channels.length * size);
    channels.forEach((channel, index) => seen.set(channel.subarray(first, end), index * size));
    const found = await session.run(
      {
        waveform: new ort.Tensor("float32", seen, [1, channels.length, size]),
        queries: new ort.Tensor("float32", degrees, [1, degrees.length]),
      },
      ["target"],
    );
    const last = end === length;
    const stop = last ? length : start + step + stride;
    target.forEach((own, index) => {
      for (let place = start; place < stop; place++) {
        const value = found.target.data[index * size + place - first];
        const rise = start > 0 && place < start + stride ? (place - start + 0.5) / stride : 1;
        own[place] = rise * value + (1 - rise) * own[place];
      }
    });
    found.target.dispose?.();
    postMessage({ done: Math.min(1, stop / length) });
    if (last) break;
  }
  return target;
}

addEventListener("message", async ({ data: { channels, degrees } }) => {
  try {
    const target = await separate(channels, degrees);
    const rest = channels.map((channel, index) => channel.map((sample, place) => sample - target[index][place]));
    postMessage({ target, rest });
  } catch (error) {
    postMessage({ error: String(error?.message ?? error).split("\n")[0] });
  }
});
