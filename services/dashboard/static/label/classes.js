// The list of classes: buttons with colour and key, and a field that finds one of many by its name.

const MANY = 12; // as many are seen at once on most screens

export class Classes {
  // `picked` is called with the index of a class that was chosen.
  constructor(list, field, picked) {
    Object.assign(this, { list, field, picked });
    field.addEventListener("input", () => this.filter());
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== "Escape") return;
      event.preventDefault();
      event.stopPropagation();
      if (event.key === "Enter" && !this.found().length) return;
      const first = field.value.trim() ? this.found()[0] : null;
      this.clear();
      field.blur();
      if (event.key === "Enter" && first) picked(Number(first.dataset.index));
    });
  }

  build(palette) {
    this.list.replaceChildren(...palette.map((one) => this.button(one)));
    this.field.hidden = palette.length <= MANY;
    this.clear();
  }

  button(one) {
    const press = document.createElement("button");
    press.type = "button";
    press.dataset.index = one.index;
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = one.color;
    const name = document.createElement("span");
    name.textContent = one.name;
    press.append(swatch, name);
    if (one.key) {
      const key = document.createElement("kbd");
      key.textContent = one.key.toUpperCase();
      key.ariaHidden = "true";
      press.append(key);
    }
    press.addEventListener("click", () => this.picked(one.index));
    return press;
  }

  // Buttons whose names hold what is typed; a name that begins with it comes first.
  found() {
    const words = this.field.value.trim().toLowerCase();
    const name = (press) => press.children[1].textContent.toLowerCase();
    const holding = [...this.list.children].filter((press) => name(press).includes(words));
    return holding.sort((a, b) => name(b).startsWith(words) - name(a).startsWith(words));
  }

  filter() {
    const found = this.found();
    for (const press of this.list.children) {
      press.hidden = !found.includes(press);
      press.classList.toggle("first", Boolean(this.field.value.trim()) && press === found[0]);
    }
  }

  clear() {
    this.field.value = "";
    this.filter();
  }

  // Begin to search; false where there are few classes.
  find() {
    if (this.field.hidden) return false;
    this.field.focus();
    return true;
  }

  // Show which classes the task has chosen, the newest in sight.
  mark(pressed) {
    for (const press of this.list.children) {
      const is = pressed(Number(press.dataset.index));
      if (is && press.getAttribute("aria-pressed") === "false") press.scrollIntoView({ block: "nearest" });
      press.setAttribute("aria-pressed", String(is));
    }
  }
}
