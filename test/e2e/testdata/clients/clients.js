// Loads a document, and what it refers to, with an element or a library that pages use.

// load returns "yes" once everything is loaded, "timeout" after 50 seconds, or an error. It does
// not wait for libraries that try again: a response to a request for a file of the folder with a
// status of 400 or more is an error.
export function load(library, path, authorization, folder) {
  const refused = new Promise((_, fail) => {
    new PerformanceObserver(list => {
      for (const { name, responseStatus } of list.getEntries()) {
        if (name.includes(folder) && responseStatus >= 400) fail(Error("status " + responseStatus));
      }
    }).observe({ type: "resource", buffered: true });
  });
  const late = new Promise(done => setTimeout(done, 50_000, "timeout"));
  const loaded = clients[library](location.origin + path, authorization).then(() => "yes");
  return Promise.race([loaded, refused, late]).catch(e => "error: " + e.message);
}

const video = document.getElementById("video");
const view = document.getElementById("view");

// script loads a library that sets a global variable.
function script(src) {
  return new Promise((done, fail) => {
    const s = document.createElement("script");
    Object.assign(s, { src: "/lib/" + src, onload: done, onerror: () => fail(Error(src)) });
    document.head.append(s);
  });
}

// until waits for a condition. Errors that the library reports to fail end the wait.
async function until(condition, start) {
  let error;
  await start(e => error ??= e || "failed");
  while (!condition()) {
    if (error) throw Error(JSON.stringify(error).slice(0, 300));
    await new Promise(d => setTimeout(d, 20));
  }
}

// played reports whether the film, which starts by itself, is loaded or played to its end. Some
// libraries load no more than what is played next.
function played() {
  const { ended, buffered, duration } = document.querySelector("video");
  return ended || (buffered.length && buffered.end(buffered.length - 1) > duration - 0.3);
}

const headers = authorization => authorization ? { Authorization: authorization } : {};

// clients load a document's URL, with a value of Authorization or "". They return once everything
// is loaded, and throw if something is not.
const clients = {
  async "img"(url) {
    const image = new Image();
    await new Promise((done, fail) => {
      Object.assign(image, { src: url, onload: done, onerror: () => fail(Error("no image")) });
    });
    if (image.naturalWidth !== 30) throw Error(image.naturalWidth + " pixels");
  },

  "video": url => until(played, fail => {
    video.onerror = () => fail(video.error.message);
    video.src = url;
  }),

  "video crossorigin": url => until(played, fail => {
    video.crossOrigin = "anonymous";
    video.onerror = () => fail(video.error.message);
    video.src = url;
  }),

  async "hls.js"(url, authorization) {
    await script("hls.js/dist/hls.min.js");
    const hls = new Hls({
      xhrSetup: xhr => authorization && xhr.setRequestHeader("Authorization", authorization),
    });
    await until(played, fail => {
      hls.on(Hls.Events.ERROR, (_, data) => data.fatal && fail(data.details));
      hls.loadSource(url);
      hls.attachMedia(video);
    });
  },

  async "dash.js"(url, authorization) {
    await script("dashjs/dist/modern/umd/dash.all.min.js");
    const player = dashjs.MediaPlayer().create();
    player.addRequestInterceptor(request => {
      Object.assign(request.headers ??= {}, headers(authorization));
      return Promise.resolve(request);
    });
    await until(played, fail => {
      player.on("error", e => fail(e.error?.message));
      player.initialize(video, url, true);
    });
  },

  async "Shaka Player"(url, authorization) {
    await script("shaka-player/dist/shaka-player.compiled.js");
    shaka.polyfill.installAll();
    const player = new shaka.Player();
    await player.attach(video);
    player.getNetworkingEngine().registerRequestFilter(
      (_, request) => Object.assign(request.headers, headers(authorization)));
    await until(played, fail => {
      player.addEventListener("error", e => fail(e.detail.code));
      return player.load(url);
    });
  },

  async "video.js"(url, authorization) {
    await script("video.js/dist/video.min.js");
    videojs.Vhs.xhr.onRequest(options => {
      options.headers = { ...options.headers, ...headers(authorization) };
      return options;
    });
    const player = videojs(video, { autoplay: true, html5: { vhs: { overrideNative: true } } });
    await until(played, fail => {
      player.on("error", () => fail(player.error().message));
      player.src({ src: url, type: "application/vnd.apple.mpegurl" });
    });
  },

  async "OpenSeadragon"(url, authorization) {
    await script("openseadragon/build/openseadragon/openseadragon.min.js");
    const ajax = { loadTilesWithAjax: true, ajaxHeaders: headers(authorization) };
    const viewer = OpenSeadragon({
      element: view, tileSources: url, showNavigationControl: false, drawer: "canvas",
      ...(authorization ? ajax : {}),
    });
    await until(() => viewer.world.getItemAt(0)?.getFullyLoaded(), fail => {
      viewer.addHandler("open-failed", e => fail(e.message));
      viewer.addHandler("tile-load-failed", e => fail(e.message));
    });
  },

  async "pdf.js"(url, authorization) {
    const pdf = await import("/lib/pdfjs-dist/build/pdf.min.mjs");
    pdf.GlobalWorkerOptions.workerSrc = "/lib/pdfjs-dist/build/pdf.worker.min.mjs";
    const document = await pdf.getDocument({
      url, httpHeaders: headers(authorization), disableStream: true, disableAutoFetch: true,
    }).promise;
    const operators = await (await document.getPage(1)).getOperatorList();
    if (!operators.fnArray.length) throw Error("the page is empty");
  },

  async "geotiff.js"(url, authorization) {
    await script("geotiff/dist-browser/geotiff.js");
    const tiff = await GeoTIFF.fromUrl(url, { headers: headers(authorization) });
    const [band] = await (await tiff.getImage()).readRasters();
    if (band[0] !== 7) throw Error("the first sample is " + band[0]);
  },

  async "three.js"(url, authorization) {
    const { GLTFLoader } = await import("three/addons/loaders/GLTFLoader.js");
    const loader = new GLTFLoader();
    loader.setRequestHeader(headers(authorization));
    const model = await loader.loadAsync(url);
    const { count } = model.scene.children[0].geometry.attributes.position;
    if (count !== 3) throw Error(count + " vertices");
  },

  async "Cesium"(url, authorization) {
    globalThis.CESIUM_BASE_URL = "/lib/cesium/Build/Cesium/";
    await script("cesium/Build/Cesium/Cesium.js");
    const { scene, camera } = new Cesium.CesiumWidget(view, {
      baseLayer: false, globe: false, skyBox: false, skyAtmosphere: false,
    });
    const tiles = await Cesium.Cesium3DTileset.fromUrl(
      new Cesium.Resource({ url, headers: headers(authorization) }));
    scene.primitives.add(tiles);
    camera.viewBoundingSphere(tiles.boundingSphere);
    await until(() => tiles.tilesLoaded && tiles.root.contentReady, fail => {
      tiles.tileFailed.addEventListener(e => fail(e.message));
      scene.renderError.addEventListener((_, e) => fail(e.message));
    });
  },

  async "zarrita"(url, authorization) {
    const zarr = await import("zarrita");
    const store = new zarr.FetchStore(url, { overrides: { headers: headers(authorization) } });
    const { data } = await zarr.get(await zarr.open.v3(store, { kind: "array" }));
    if (data.join() !== "1,2,3,4") throw Error(data.join());
  },
};
