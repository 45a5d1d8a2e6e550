// Channels of samples as a WAV file of 16 bits; what is beyond full scale is clamped.

export function wav(channels, rate) {
  const [num, length] = [channels.length, channels[0].length];
  const view = new DataView(new ArrayBuffer(44 + 2 * num * length));
  const text = (place, word) => [...word].forEach((letter, index) => view.setUint8(place + index, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * num * length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, num, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * num * rate, true);
  view.setUint16(32, 2 * num, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * num * length, true);
  for (let sample = 0, place = 44; sample < length; sample++) {
    for (const channel of channels) {
      view.setInt16(place, Math.max(-32768, Math.min(32767, Math.round(32768 * channel[sample]))), true);
      place += 2;
    }
  }
  return new Blob([view.buffer], { type: "audio/wav" });
}
