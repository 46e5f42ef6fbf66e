// A browser starts no worker for a page that was opened as a file. There the search runs in a hidden frame instead.
if (location.protocol === "file:") {
  const run = (document, url) =>
    new Promise((done, fail) => {
      const script = document.createElement("script");
      Object.assign(script, { src: url, onload: done, onerror: fail });
      document.body.append(script);
    });
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.srcdoc = "<body></body>";
      this.inside = new Promise((done) => {
        frame.onload = async () => {
          const inside = frame.contentWindow;
          inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
          inside.importScripts = async (...urls) => {
            for (const each of urls) await run(inside.document, each);
          };
          await run(inside.document, url);
          done(inside);
        };
      });
      document.body.append(frame);
    }
    async postMessage(data) {
      const inside = await this.inside;
      inside.dispatchEvent(new MessageEvent("message", { data }));
    }
  };
}
