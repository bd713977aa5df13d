const $ = id => document.getElementById(id);
const models = JSON.parse($("models").textContent), largest = {{ limits.upload | tojson }};
const player = new Player($("player"), { keys: document, side: 1 });  // videos at their own size
let still = null, job = null;

async function ask(method, path, body, kind) {
  let answer;
  try { answer = await fetch(path, { method, body, headers: body ? { "Content-Type": kind || "application/octet-stream" } : {} }); }
  catch { throw new Error("The server does not answer.\nHint: start it again with `lddm demo`"); }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({ message: "the server answered " + answer.status, hint: "" }));
  throw new Error(said.hint ? said.message + "\nHint: " + said.hint : said.message);
}
function fail(error) { $("error").textContent = error ? error.message : ""; }
function chosen() { return models.find(model => model.name === $("model").value) || models[0]; }
function showModel() {
  const model = chosen();
  $("trained").textContent = "Trained on " + model.trained_on + ".";
  $("classes").hidden = model.target !== null;
  $("targets").hidden = model.target === null;
  $("with-baseline").hidden = !model.baseline;
  $("label").replaceChildren(new Option("unknown", ""), ...model.classes.map(name => new Option(name, name)));
  if (model.target) {
    const { name, unit, low, high } = model.target;
    $("target-name").textContent = `${name}, ${low} to ${high} ${unit}`;
    $("target").min = low; $("target").max = high;
  }
  $("length").value = model.frames;
}
async function take(file) {
  fail();
  if (!file) return;
  if (file.size > largest) return fail(new Error(`The file is larger than ${largest / 2 ** 20} MiB.`));
  $("about").textContent = "reading ...";
  try {
    const about = await (await ask("POST", "/stills", await file.arrayBuffer())).json();
    if (still) ask("DELETE", "/stills/" + still.id).catch(() => {});
    still = about;
    $("still").src = `/stills/${still.id}.png`;
    $("still").hidden = false;
    $("about").textContent = [`${still.width} x ${still.height} pixels`, ...still.notes].join("; ");
    $("go").disabled = false;
  } catch (error) { $("about").textContent = ""; fail(error); }
}
async function animate() {
  const model = chosen();
  const label = model.target ? ($("target").value === "" ? null : Number($("target").value)) : ($("label").value || null);
  const asked = { still: still.id, model: model.name, label, samples: Number($("samples").value), length: Number($("length").value),
    seed: Number($("seed").value), baseline: model.baseline && $("baseline").checked };
  fail();
  busy(true);
  try {
    const before = job && job.id;
    job = { id: (await (await ask("POST", "/jobs", JSON.stringify(asked), "application/json")).json()).id };
    for (;;) {
      const now = await (await ask("GET", "/jobs/" + job.id)).json();
      $("progress").value = now.progress;
      $("state").textContent = now.state === "waiting" ? "waiting for the job before it" : `animating, ${Math.round(100 * now.progress)} %`;
      if (now.state === "failed") throw new Error(now.message);
      if (now.state === "done") { await show(now); break; }
      await new Promise(done => setTimeout(done, 200));
    }
    if (before) ask("DELETE", "/jobs/" + before).catch(() => {});
  } catch (error) { if (job) fail(error); }
  busy(false);
}
function busy(yes) { $("go").disabled = yes || !still; $("running").hidden = !yes; $("progress").value = 0; if (yes) $("state").textContent = "starting"; }
async function show(now) {
  const made = await Promise.all(now.videos.map(async ({ title, shape: [count, height, width] }, k) => rawClip(
    { name: title, mark: "synthetic", count, height, width, extra: downloads(title, `/jobs/${now.id}/${k}`) },
    new Uint8Array(await (await ask("GET", `/jobs/${now.id}/${k}.raw`)).arrayBuffer()))));
  const { count, height, width, paint } = made[0];
  $("warning").hidden = !now.warning;
  $("warning").textContent = now.warning && now.warning[0].toUpperCase() + now.warning.slice(1);
  $("how").textContent = `${count} frames of ${width} x ${height} pixels at ${now.fps} Hz, seed ${now.seed}. ` +
    `The model was trained on ${now.trained_on}. Downloads have the word SYNTHETIC in every frame.`;
  $("empty").hidden = true; $("made").hidden = false;
  player.show([{ name: "the still", mark: "", count: 1, height, width, paint }, ...made], now);
  if (matchMedia("(max-width: 859px)").matches) $("result").scrollIntoView();
}
function downloads(title, address) {
  const files = element("div", "files");
  for (const kind of ["mp4", "gif", "dcm"]) {
    const link = element("a", "", kind === "dcm" ? "DICOM" : kind.toUpperCase());
    link.href = `${address}.${kind}`;
    link.setAttribute("download", "");
    link.setAttribute("aria-label", `download ${title} as ${link.textContent}`);
    files.append(link);
  }
  return files;
}
$("model").addEventListener("change", showModel);
$("file").addEventListener("change", event => take(event.target.files[0]));
for (const kind of ["dragover", "dragleave", "drop"]) document.addEventListener(kind, event => {
  event.preventDefault();
  $("drop").classList.toggle("over", kind === "dragover");
  if (kind === "drop") take(event.dataTransfer.files[0]);
});
$("form").addEventListener("submit", event => { event.preventDefault(); if (still) animate(); });
$("cancel").addEventListener("click", () => { if (job) ask("DELETE", "/jobs/" + job.id).catch(() => {}); job = null; });
$("forget").addEventListener("click", async () => {
  for (const path of [job && "/jobs/" + job.id, still && "/stills/" + still.id]) if (path) await ask("DELETE", path).catch(() => {});
  location.reload();
});
showModel();
