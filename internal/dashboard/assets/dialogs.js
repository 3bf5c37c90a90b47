// What asks before something is done to the run. A dialog gives the focus back to what opened it.
"use strict";
function twinfleetDialogs(press) {
  const $ = (id) => document.getElementById(id);
  let yes = () => {};

  // ask does something when the answer is yes.
  function ask(title, text, label, what) {
    $("ask-title").textContent = title;
    $("ask-text").textContent = text;
    $("ask-yes").textContent = label;
    yes = what;
    $("ask").showModal();
  }
  $("ask-no").onclick = () => $("ask").close();
  $("ask-yes").onclick = () => { $("ask").close(); yes(); };

  const fields = { devices: $("load-devices"), report_rate: $("load-reports"), telemetry_rate: $("load-telemetry") };

  // change asks for another load; devices is how many there are.
  function change(devices) {
    for (const input of Object.values(fields)) {
      input.value = "";
      input.removeAttribute("aria-invalid");
    }
    fields.devices.placeholder = `0 to ${devices.toLocaleString("en")}`;
    fields.report_rate.placeholder = fields.telemetry_rate.placeholder = "as it is";
    $("load-error").textContent = "";
    $("load").showModal();
  }
  $("load-no").onclick = () => $("load").close();
  $("load-form").onsubmit = async (e) => {
    e.preventDefault();
    const asked = {};
    for (const [name, input] of Object.entries(fields)) {
      input.removeAttribute("aria-invalid");
      const text = input.value.trim().replaceAll(",", "");
      if (!text) continue;
      if (!/^\d+(\.\d+)?$/.test(text) || name === "devices" && text.includes(".")) {
        input.setAttribute("aria-invalid", "true");
        $("load-error").textContent = name === "devices" ? "Give a whole number of devices." : "Give a number a second, such as 250 or 0.5.";
        input.focus();
        return;
      }
      asked[name] = Number(text);
    }
    const problem = await press("change", asked);
    if (problem) $("load-error").textContent = problem;
    else $("load").close();
  };
  return { ask, change, close: () => { $("ask").close(); $("load").close(); } };
}
