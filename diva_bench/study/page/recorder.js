// Hands the samples of the microphone to the page, 128 at a time; runs in the audio thread.
"use strict";
registerProcessor("recorder", class extends AudioWorkletProcessor {
  process([input]) {
    if (input.length) this.port.postMessage(input[0].slice());
    return true;
  }
});
