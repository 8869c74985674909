// Measured time and clicks of one question. Time counts while the page is seen and somebody does something: a pause of
// more than a minute without key or pointer ends it at that minute.

const PAUSE = 60000;

export class Timer {
  constructor() {
    this.reset(0, 0);
    for (const kind of ["pointerdown", "pointermove", "keydown", "wheel"])
      addEventListener(kind, () => this.touch(), { capture: true, passive: true });
    document.addEventListener("visibilitychange", () => (document.hidden ? this.add() : (this.since = this.seen = this.now())));
  }

  now() {
    return performance.now();
  }

  reset(seconds, clicks) {
    this.spent = seconds * 1000;
    this.clicks = clicks;
    this.since = this.seen = this.now();
  }

  touch() {
    if (this.now() - this.seen > PAUSE) {
      this.spent += this.seen + PAUSE - this.since;
      this.since = this.now();
    }
    this.seen = this.now();
  }

  click() {
    this.clicks++;
  }

  add() {
    this.spent += Math.max(0, Math.min(this.now(), this.seen + PAUSE) - this.since);
    this.since = this.now();
  }

  seconds() {
    if (!document.hidden) this.add();
    return Math.min(86400, Math.round(this.spent) / 1000);
  }
}
