// Shows a message if the object fails to load. It may have failed before this script runs.
const shown = document.querySelector("img, video, audio");
const failed = () => { document.getElementById("failure").hidden = false; };
if (shown) {
  shown.addEventListener("error", failed);
  if (shown.error || shown.complete && shown.naturalWidth === 0) failed();
}
