// The page: a recording, words, two results. All of it stays in this browser.

import { Book } from "./reading.js";
import { wav } from "./wav.js";

const MAX_SECONDS = 600;
const ABSENT_DB = -20; // a target this far under the recording is probably not there
const part = (id) => document.getElementById(id);
const urls = new Map();

const about = await (await fetch("model.json")).json();
const book = new Book(about);
part("num-classes").textContent = about.labels.length - 1;
part("rate").textContent = about.sample_rate / 1000;
part("sounds").append(...about.entries.map(({ name }) => new Option(name, name)));

let channels, stem, asked;
let ready = false;
let busy = false;

function say(text, wrong = false) {
  part("status").textContent = text;
  part("status").classList.toggle("error", wrong);
}

function offer() {
  part("separate").disabled = !(ready && channels && !busy);
}

function play(id, blob) {
  URL.revokeObjectURL(urls.get(id));
  urls.set(id, URL.createObjectURL(blob));
  part(id).src = urls.get(id);
  return urls.get(id);
}

async function take(file) {
  channels = undefined;
  part("results").hidden = true;
  part("mixture").hidden = true;
  part("recording").textContent = "";
  part("reading").textContent = "";
  offer();
  try {
    const context = new OfflineAudioContext(1, 1, about.sample_rate); // decodes to its own rate
    const decoded = await context.decodeAudioData(await file.arrayBuffer());
    if (decoded.duration > MAX_SECONDS) throw new RangeError(`longer than ${MAX_SECONDS / 60} minutes: cut it first`);
    const num = Math.min(2, decoded.numberOfChannels);
    channels = Array.from({ length: num }, (_, index) => decoded.getChannelData(index));
    stem = file.name.replace(/\.[^.]*$/, "");
    part("recording").textContent = `${file.name}: ${decoded.duration.toFixed(1)} s`;
    part("mixture").hidden = false;
    play("mixture", file);
    say(ready ? "" : "Loading the model …");
  } catch (error) {
    const reason = error instanceof RangeError ? error.message : "this browser reads no sound in it";
    say(`${file.name}: ${reason}`, true);
  }
  offer();
}

function energy(parts) {
  return parts.reduce((sum, samples) => samples.reduce((own, sample) => own + sample * sample, sum), 0);
}

function show({ target, rest }) {
  const rate = about.sample_rate;
  const level = 10 * Math.log10(energy(target) / energy(channels));
  part("target-name").textContent = asked;
  const doubt = level >= ABSENT_DB ? "" : ": probably not there"; // also of silence in silence, NaN
  part("level").textContent = level > -200 ? `${level.toFixed(1)} dB of the recording${doubt}` : `silence${doubt}`;
  for (const [id, samples] of [["target", target], ["rest", rest]]) {
    part(`${id}-file`).href = play(id, wav(samples, rate));
    part(`${id}-file`).download = `${stem}.${id === "target" ? asked.replace(/[^\p{L}\p{N}]+/gu, "-") : "rest"}.wav`;
  }
  part("results").hidden = false;
  say("Done.");
}

const worker = new Worker("worker.js", { type: "module" });
worker.addEventListener("error", (event) => {
  event.preventDefault();
  say("The model could not be loaded: this browser may be too old.", true);
});
worker.addEventListener("message", ({ data }) => {
  if (data.ready) {
    ready = true;
    say(channels ? "" : "Ready.");
  } else if (data.done !== undefined) {
    part("progress").value = data.done;
  } else {
    busy = false;
    part("progress").hidden = true;
    if (data.error) say(`That did not work: ${data.error}`, true);
    else show(data);
  }
  offer();
});

part("file").addEventListener("change", ({ target }) => target.files[0] && take(target.files[0]));
for (const kind of ["dragover", "dragleave", "drop"]) {
  part("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    part("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
}

part("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (part("separate").disabled) return;
  const words = part("words").value;
  const reading = book.read(words);
  if (reading.unknown !== undefined) {
    part("reading").textContent = `“${reading.unknown}” is not in the list of words: choose one that is offered while you type.`;
    say("");
    return;
  }
  asked = reading.names.join(" + ");
  part("reading").textContent = `Read as: ${asked}`;
  busy = true;
  offer();
  say("Separating …");
  part("results").hidden = true;
  part("progress").hidden = false;
  part("progress").value = 0;
  worker.postMessage({ channels, degrees: reading.degrees });
});

offer();
