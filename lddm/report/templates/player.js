// Plays several clips in step. A clip: { name, mark, count, width, height, paint(brush, frame), column(brush, x) }, where `paint` draws
// a frame and `column` draws column x of all frames side by side.
function sheetClip(about) {
  const image = new Image(), { columns, count, width, height } = about;
  const left = frame => (frame % columns) * width, top = frame => Math.floor(frame / columns) * height;
  image.src = about.source;
  return image.decode().then(() => ({ ...about,
    paint: (brush, frame) => brush.drawImage(image, left(frame), top(frame), width, height, 0, 0, width, height),
    column: (brush, x) => { for (let t = 0; t < count; t++) brush.drawImage(image, left(t) + x, top(t), 1, height, t, 0, 1, height); } }));
}
function rawClip(about, data) {  // data: uint8 (count, height, width)
  const { count, width, height } = about;
  const grey = (brush, across, at, step) => {  // every `step`-th value from `at(row)` on
    const image = brush.createImageData(across, height), pixels = new Uint32Array(image.data.buffer);
    for (let row = 0, to = 0; row < height; row++) {
      for (let x = 0, from = at(row); x < across; x++, from += step) pixels[to++] = (0xff000000 | data[from] * 0x10101) >>> 0;
    }
    brush.putImageData(image, 0, 0);
  };
  return { ...about,
    paint: (brush, frame) => grey(brush, width, row => (frame * height + row) * width, 1),
    column: (brush, x) => grey(brush, count, row => row * width + x, height * width) };
}
function element(kind, className, text = "") {
  const made = document.createElement(kind);
  made.className = className; made.textContent = text;
  return made;
}
class Player {
  // root: the element with the controls; keys: what hears the keys; arrows: whether the arrow keys step; side: pixels of a clip at first.
  constructor(root, { keys = root, arrows = true, side = 160 } = {}) {
    Object.assign(this, { root, arrows, side, clips: [], order: [0], place: 0, share: 0.5, last: 0, playing: false, visible: true });
    this.parts = Object.fromEntries([...root.querySelectorAll("[data-part]")].map(part => [part.dataset.part, part]));
    const { play, back, on, size, time, mode, line } = this.parts;
    play.addEventListener("click", () => this.play(!this.playing));
    back.addEventListener("click", () => this.step(-1));
    on.addEventListener("click", () => this.step(1));
    size.addEventListener("change", () => { this.sized = true; this.resize(); });
    time.addEventListener("input", () => this.seek(Number(time.value)));
    mode.addEventListener("change", () => this.setLine(this.share));
    line.addEventListener("input", () => this.setLine(line.value / 1000));
    keys.addEventListener("keydown", event => this.key(event));
    new IntersectionObserver(seen => { this.visible = seen.at(-1).isIntersecting; }).observe(this.parts.videos);
    new ResizeObserver(() => this.resize()).observe(root);
  }
  // toAndFro: back to the first frame by way of all others, without a jump.
  show(clips, { fps, toAndFro = false }) {
    const frames = Array.from({ length: Math.max(...clips.map(clip => clip.count)) }, (_, frame) => frame);
    Object.assign(this, { clips, fps, place: 0, order: toAndFro ? [...frames, ...frames.slice(1, -1).reverse()] : frames });
    this.parts.time.max = frames.length - 1;
    this.root.querySelector(".controls").hidden = frames.length < 2;
    this.parts.videos.replaceChildren(...clips.map(clip => this.box(clip)));
    this.resize();
    this.setLine(this.share);
    this.play(frames.length > 1 && !matchMedia("(prefers-reduced-motion: reduce)").matches);
  }
  box(clip) {
    const figure = element("figure", ""), area = name => {
      const part = element("div", name), canvas = element("canvas", ""), cursor = element("div", "cursor");
      [canvas.width, canvas.height] = [name === "frame" ? clip.width : clip.count, clip.height];
      canvas.setAttribute("role", "img");
      part.style.aspectRatio = `${clip.width} / ${clip.height}`;
      part.append(canvas, cursor);
      const brush = canvas.getContext("2d");
      brush.imageSmoothingEnabled = false;
      return { part, canvas, cursor, brush };
    };
    const title = [clip.name, clip.mark].filter(Boolean).join(", ");
    clip.box = figure; clip.frame = area("frame"); clip.mode = area("m-mode"); clip.axis = element("div", "axis");
    clip.frame.canvas.setAttribute("aria-label", title || "clip");
    clip.mode.canvas.setAttribute("aria-label", `M-mode${title && ", " + title}: depth downwards, time to the right`);
    clip.axis.append(element("span", "", "0"), element("span", "", "time"), element("span", "", `${((clip.count - 1) / this.fps).toFixed(1)} s`));
    if (title) {
      const caption = element("figcaption", "");
      caption.append(element("b", "", clip.name), element("span", clip.mark && "mark", clip.mark));
      figure.append(caption);
    }
    figure.append(clip.frame.part, clip.mode.part, clip.axis, ...(clip.extra ? [clip.extra] : []));
    this.drag(clip.frame.part, share => this.setLine(share));
    this.drag(clip.mode.part, share => this.seek(Math.min(clip.count - 1, Math.floor(share * clip.count))));
    return figure;
  }
  drag(part, move) {
    const moved = event => {
      const area = part.getBoundingClientRect();
      move(Math.min(1, Math.max(0, (event.clientX - area.left) / area.width)));
    };
    part.addEventListener("pointerdown", event => { if (event.isPrimary) moved(event); });
    part.addEventListener("pointermove", event => { if (event.isPrimary && event.buttons) moved(event); });
  }
  // Whole multiples of a clip's own pixels; only a clip wider than the page is made smaller.
  resize() {
    if (!this.clips.length) return;
    const space = this.parts.videos.clientWidth, own = Math.max(...this.clips.map(clip => clip.width));
    const room = Math.min(this.side, this.clips.length > 1 ? space / 2 - 16 : space);  // at least two side by side
    if (!this.sized) this.parts.size.value = Math.min(6, Math.max(1, Math.floor(room / own)));
    for (const clip of this.clips) {
      const width = clip.width * this.parts.size.value;
      for (const part of [clip.frame.part, clip.mode.part, clip.axis]) part.style.width = `${width}px`;
      clip.box.classList.toggle("crisp", width <= space);
    }
  }
  get frame() { return this.order[this.place]; }
  move(by) { this.place = (this.place + by + this.order.length) % this.order.length; this.draw(); }
  step(by) { this.play(false); this.move(by); }
  seek(frame) { this.play(false); this.place = frame; this.draw(); }
  play(yes) {
    const begins = yes && !this.playing;
    this.playing = yes;
    this.parts.play.textContent = yes ? "Pause" : "Play";
    if (begins) requestAnimationFrame(now => this.tick(now));
  }
  tick(now) {
    if (!this.playing) return;
    const wait = 1000 / (this.fps * this.parts.speed.value), late = now - this.last;
    if (this.visible && late >= wait) { this.last = late > 2 * wait ? now : this.last + wait; this.move(1); }
    requestAnimationFrame(later => this.tick(later));
  }
  draw() {
    const frame = this.frame, seconds = `${(frame / this.fps).toFixed(2)} s`;
    for (const clip of this.clips) {
      clip.paint(clip.frame.brush, Math.min(frame, clip.count - 1));
      clip.mode.cursor.style.left = `${100 * (frame + 0.5) / clip.count}%`;
    }
    this.parts.time.value = frame;
    this.parts.time.setAttribute("aria-valuetext", `frame ${frame}, ${seconds}`);
    this.parts.clock.textContent = seconds;
  }
  setLine(share) {
    const shown = this.parts.mode.checked;
    this.share = share;
    this.parts.line.value = Math.round(1000 * share);
    this.parts.line.closest("label").hidden = !shown;
    for (const clip of this.clips) {
      const x = Math.min(clip.width - 1, Math.floor(clip.width * share)), still = clip.count < 2;
      clip.frame.cursor.style.left = `${100 * (x + 0.5) / clip.width}%`;
      clip.frame.cursor.hidden = !shown;
      clip.mode.part.hidden = clip.axis.hidden = !shown || still;
      if (shown && !still) clip.column(clip.mode.brush, x);
    }
    this.draw();
  }
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !this.clips.length) return;
    const place = event.target.tagName, arrow = this.arrows && { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (place === "INPUT" || place === "SELECT" || (place === "BUTTON" && event.key === " ")) return;
    if (event.key === " ") this.play(!this.playing);
    else if (event.key === "," || event.key === ".") this.step(event.key === "," ? -1 : 1);
    else if (arrow) this.step(arrow);
    else return;
    event.preventDefault();
  }
}
