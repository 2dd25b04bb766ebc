// Nothing here is needed to read or to act: it tells each time in the reader's own zone, and sends a form once.
for (const time of document.querySelectorAll("time")) {
  time.title = new Date(time.dateTime).toLocaleString(document.documentElement.lang);
}
for (const form of document.querySelectorAll("form")) {
  form.addEventListener("submit", () => {
    form.querySelector("button[type=submit]").disabled = true;
  });
}
window.addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("button[disabled]")) button.disabled = false;
});
