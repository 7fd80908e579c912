// Starts Swagger UI on this daemon's own document. No validator, no badge: nothing is asked of any other host.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#page",
  deepLinking: true,
  validatorUrl: null,
});
