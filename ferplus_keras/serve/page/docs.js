"use strict";
SwaggerUIBundle({ dom_id: "#swagger", url: "openapi.json", deepLinking: true, validatorUrl: null });
