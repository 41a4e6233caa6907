// Plays films with the players that pages use.

const video = document.getElementById("video");

// script loads a library that sets a global variable.
function script(src) {
  return new Promise((done, fail) => {
    const s = document.createElement("script");
    Object.assign(s, { src: "/lib/" + src, onload: done, onerror: () => fail(Error(src)) });
    document.head.append(s);
  });
}

// play plays a film from its beginning to its end. It returns the position at the end and the
// number of cues in the captions, or the error with which the player gave up.
export async function play(player, url, { rate = 1, settings = {} } = {}) {
  const film = new URL(url, location).href;
  try {
    await new Promise((done, fail) => {
      video.onended = done;
      video.onerror = () => fail(Error(`media error ${video.error.code} ${video.error.message}`));
      video.onplaying = () => video.playbackRate = rate; // players set it when they load a film
      video.muted = true;
      players[player](film, message => fail(Error(message)), settings)
        .then(() => video.play()).catch(fail);
    });
  } catch (e) {
    return "error: " + e.message;
  }
  const cues = [...video.textTracks].map(track => track.cues?.length ?? 0);
  return `ended at ${Math.round(video.currentTime)} s, ${Math.max(0, ...cues)} cues`;
}

// players load a film. They call fail with the error with which the player gives up.
const players = {
  async "native"(url, fail, { crossOrigin = null }) {
    video.crossOrigin = crossOrigin;
    video.src = url;
  },

  async "hls.js"(url, fail, settings) {
    await script("hls.js/dist/hls.min.js");
    const hls = new Hls(settings);
    hls.on(Hls.Events.ERROR, (_, e) => e.fatal && fail(`${e.details} ${e.response?.code}`));
    const parsed = new Promise(done => hls.on(Hls.Events.MANIFEST_PARSED, done));
    hls.loadSource(url);
    hls.attachMedia(video);
    await parsed;
    hls.subtitleDisplay = true;
    hls.subtitleTrack = hls.subtitleTracks.length - 1;
  },

  async "dash.js"(url, fail) {
    await script("dashjs/dist/modern/umd/dash.all.min.js");
    const player = dashjs.MediaPlayer().create();
    player.on("error", e => fail(`${e.error.code} ${e.error.message}`));
    player.initialize(video, url, false);
    await new Promise(done => player.on("streamInitialized", done));
  },

  async "Shaka Player"(url, fail, settings) {
    await script("shaka-player/dist/shaka-player.compiled.js");
    shaka.polyfill.installAll();
    const player = new shaka.Player();
    player.configure(settings);
    player.addEventListener("error", e => fail(`Shaka error ${e.detail.code}: ${e.detail.data}`));
    await player.attach(video);
    await player.load(url).catch(e => { throw Error(`Shaka error ${e.code}: ${e.data}`); });
    player.selectTextTrack(player.getTextTracks()[0]);
  },
};
