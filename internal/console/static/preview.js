// Says so when the object does not load. The element may have failed before this runs.
const shown = document.querySelector("img, video, audio");
const failed = () => { document.getElementById("failure").hidden = false; };
if (shown) {
  shown.addEventListener("error", failed);
  if (shown.error || shown.complete && shown.naturalWidth === 0) failed();
}
