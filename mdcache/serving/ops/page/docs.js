// Starts Swagger UI on this daemon's own document. No validator, no badge: nothing is asked of any other host.

/** Has the browser keep nothing: the daemon's own cache shall show. It would ask for a new answer then, but for its header. */
function ask(request) {
  const asked = Object.keys(request.headers ?? {}).some((name) => name.toLowerCase() === "cache-control");
  const neutral = asked ? {} : { "Cache-Control": "no-transform" };
  return Object.assign(request, { cache: "no-store", headers: { ...request.headers, ...neutral, Pragma: "no-transform" } });
}

if (!("SwaggerUIBundle" in globalThis)) {
  document.getElementById("page").textContent = "Swagger UI, which shows this page, is not installed beside mdcache "
    + "(Python package “openapi-ui-bundles”). The document itself is at /openapi.json.";
}

globalThis.SwaggerUIBundle?.({
  url: "openapi.json",
  dom_id: "#page",
  deepLinking: true,
  validatorUrl: null,
  defaultModelsExpandDepth: -1, // an operation shows its own
  docExpansion: "none",
  filter: true,
  showMutatedRequest: false, // the command line shows what was asked for
  requestInterceptor: ask,
});
