// Answers on their way. An answer is in the browser's storage before the next question is shown and leaves it when the
// server has said that it is stored; so a closed tab or a lost network costs nothing. Each has an id of its own, under
// which the server counts it once, however often it is sent.

import { call } from "./api.js";

export class Outbox {
  constructor(person, told) {
    this.prefix = `tessera.answer.${person}.`;
    this.refused = `tessera.refused.${person}.`;
    this.told = told; // (waiting, failure or null, response or null)
    this.wait = 500;
    this.busy = false;
    this.timer = 0;
    this.last = 0;
    addEventListener("online", () => this.hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.hurry());
  }

  keys() {
    return Object.keys(localStorage)
      .filter((key) => key.startsWith(this.prefix))
      .sort();
  }

  // Question ids whose answers are not yet acknowledged.
  waiting() {
    return this.keys().map((key) => JSON.parse(localStorage.getItem(key)).body.question);
  }

  // Keep a call and send it soon. Throws where the browser's storage is full.
  put(path, body) {
    // Times order the entries; two in one millisecond keep their order.
    this.last = Math.max(Date.now(), this.last + 1);
    const key = this.prefix + String(this.last).padStart(16, "0") + "." + body.id;
    const text = JSON.stringify({ path, body });
    try {
      localStorage.setItem(key, text);
    } catch {
      // The picture of what was drawn is kept for information only; the answer itself is small.
      localStorage.setItem(key, JSON.stringify({ path, body: { ...body, drawing: "" } }));
    }
    this.hurry();
  }

  hurry() {
    this.wait = 500;
    clearTimeout(this.timer);
    this.send();
  }

  async send() {
    if (this.busy) return;
    this.busy = true;
    try {
      // One tab sends at a time, where the browser can tell; ids make it harmless where it cannot.
      if (navigator.locks) await navigator.locks.request(this.prefix, () => this.drain());
      else await this.drain();
    } finally {
      this.busy = false;
    }
  }

  async drain() {
    // The list is read anew each time: answers are given while others are sent.
    for (let key = this.keys()[0]; key; key = this.keys()[0]) {
      const text = localStorage.getItem(key);
      if (text === null) continue; // another tab has sent it
      const entry = JSON.parse(text);
      try {
        const response = await call(entry.path, entry.body);
        localStorage.removeItem(key);
        this.wait = 500;
        this.told(this.keys().length, null, response);
      } catch (failure) {
        if (!failure.again) {
          // The server will never take it; it is kept, so that nobody's work vanishes without a trace.
          localStorage.setItem(this.refused + key, text);
          localStorage.removeItem(key);
          this.told(this.keys().length, failure, null);
          continue;
        }
        this.told(this.keys().length, failure, null);
        clearTimeout(this.timer);
        this.timer = setTimeout(() => this.send(), this.wait);
        this.wait = Math.min(this.wait * 2, 15000);
        return;
      }
    }
  }
}

// Return an id for an answer: 32 hexadecimal digits.
export function newId() {
  const digits = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(digits, (one) => one.toString(16).padStart(2, "0")).join("");
}
