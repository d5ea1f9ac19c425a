// The raw events of a report: unpacked when they are asked for, the first 200 that match shown.
(() => {
  "use strict";
  const box = document.querySelector(".events"), packed = document.getElementById("events");
  if (!box) return;
  const list = box.querySelector(".list"), search = box.querySelector("input");
  let events;
  const unpack = async () => {
    const bytes = Uint8Array.from(atob(packed.textContent), (char) => char.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return (await new Response(stream).text()).split("\n");
  };
  const show = () => {
    const found = events.filter((line) => line.toLowerCase().includes(search.value.toLowerCase()));
    list.replaceChildren(...found.slice(0, 200).map((line) => {
      const event = JSON.parse(line).attributes.resource, fold = document.createElement("details");
      const [title, text] = ["summary", "pre"].map((name) => fold.appendChild(document.createElement(name)));
      fold.className = "fold";
      title.textContent = [event.level, event.name, event.status].join(" · ");
      text.className = "block";
      fold.ontoggle = () => { text.textContent = JSON.stringify(JSON.parse(line), null, 2); };
      return fold;
    }), `${Math.min(found.length, 200)} of ${events.length} events`);
  };
  box.addEventListener("toggle", async () => { events ??= await unpack(); show(); });
  search.addEventListener("input", () => events && show());
})();
