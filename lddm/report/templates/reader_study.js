const content = JSON.parse(document.getElementById("content").textContent);
const at = id => document.getElementById(id), store = "lddm-reader-study-" + content.study;
// Answers are kept by reader, so that several can share a browser and each goes on where they stopped.
const load = reader => ({ reader, place: 0, answers: {}, ...JSON.parse(localStorage.getItem(`${store}:${reader}`) || "{}") });
let state = load(localStorage.getItem(store) ?? "");
const questions = content.questions, scale = questions.includes("certainty") ? "certainty" : "quality";
document.querySelectorAll("fieldset").forEach(set => { set.hidden = !questions.includes(set.dataset.question); });
let shown = performance.now();
const save = () => localStorage.setItem(`${store}:${state.reader}`, JSON.stringify(state));
function enter(reader) { localStorage.setItem(store, reader); state = load(reader); shown = performance.now(); draw(); }
const answer = () => state.answers[content.items[state.place]?.item] ??= { seconds: 0 };
const complete = () => questions.every(question => answer()[question] !== undefined);

const last = content.classes.length - 1;
content.classes.forEach((name, place) => {
  const button = document.createElement("button"), key = document.createElement("kbd");
  button.dataset.value = name; button.append(name + " ");
  key.textContent = place === 0 ? "←" : place === last ? "→" : "";
  if (key.textContent) button.append(key);
  document.querySelector('[data-question="diagnosis"]').append(button);
});
// The arrows go to the neighbouring class; with none chosen yet, to the first or the last.
function neighbour(right) {
  const place = content.classes.indexOf(answer().diagnosis);
  if (place < 0) return content.classes[right ? last : 0];
  return content.classes[Math.min(last, Math.max(0, place + (right ? 1 : -1)))];
}

function draw() {
  const total = content.items.length, known = state.reader !== "", reading = known && state.place < total;
  at("start").hidden = known; at("reading").hidden = !reading; at("end").hidden = !known || reading;
  at("export").hidden = at("another").hidden = !known;
  if (!reading) return;
  at("done").value = state.place / total; at("count").textContent = `clip ${state.place + 1} of ${total}`;
  present(content.items[state.place]);
  document.querySelectorAll("fieldset button").forEach(button => button.setAttribute("aria-pressed",
    answer()[button.closest("fieldset").dataset.question] === button.dataset.value));
  at("next").disabled = !complete(); at("back").disabled = state.place === 0;
}
const player = new Player(at("player"), { keys: document, arrows: false, side: 256 });
let presented = null;
async function present(item) {
  if (presented === item) return;
  presented = item;
  const clips = await Promise.all(item.clips.map(sheetClip));
  if (presented === item) player.show(clips, { fps: content.fps, toAndFro: true });
}
function choose(question, value) { answer()[question] = value; save(); draw(); }
function move(by) {
  if (by > 0 && !complete()) return;
  answer().seconds += (performance.now() - shown) / 1000; shown = performance.now();
  state.place = Math.max(0, state.place + by); save(); draw();
}
document.querySelectorAll("fieldset button").forEach(button => button.addEventListener("click", () =>
  choose(button.closest("fieldset").dataset.question, button.dataset.value)));
at("next").addEventListener("click", () => move(1)); at("back").addEventListener("click", () => move(-1));
at("go").addEventListener("click", () => enter(at("reader").value.trim()));
at("another").addEventListener("click", () => { at("reader").value = ""; enter(""); });
document.addEventListener("keydown", event => {
  const on = event.target, key = event.key.toLowerCase();
  if (on.id === "reader") { if (key === "enter") at("go").click(); return; }
  if (at("reading").hidden || event.ctrlKey || event.metaKey || event.altKey || on.tagName === "SELECT") return;
  if (on.type === "range" && key.startsWith("arrow")) return;  // it moves the slider
  if (on.tagName === "BUTTON" && key === "enter" && on.getAttribute("aria-pressed") !== "true") return;  // it presses the button
  if ((key === "r" || key === "s") && questions.includes("origin")) choose("origin", key === "r" ? "real" : "synthetic");
  else if (key === "arrowleft" || key === "arrowright") choose("diagnosis", neighbour(key === "arrowright"));
  else if (/^[1-5]$/.test(key)) choose(scale, key);
  else if (key === "enter") move(1);
  else if (key === "backspace") move(-1);
  else return;
  event.preventDefault();
});
at("export").addEventListener("click", () => {
  const quote = text => `"${String(text).replaceAll('"', '""')}"`;
  const rows = content.items.map(({ item }, place) => [content.study, state.reader, place + 1, item, ...questions.map(
    question => state.answers[item]?.[question] ?? ""), (state.answers[item]?.seconds ?? 0).toFixed(1)]);
  const text = [["study", "reader", "position", "item", ...questions, "seconds"], ...rows]
    .map(row => row.map(quote).join(",")).join("\n") + "\n";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = `answers-${content.study}-${state.reader.replace(/[^\p{L}\p{N}]+/gu, "-")}.csv`; link.click();
});
draw();
