/** The page of the interface: every operation of `openapi.json`, shown and tried out by Swagger UI. It asks nobody else. */

import notice from 'swagger-ui-dist/NOTICE?raw'
import SwaggerUI from 'swagger-ui-dist/swagger-ui-es-bundle.js'
import within from 'swagger-ui-dist/swagger-ui-es-bundle.js.LICENSE.txt?raw'
import 'swagger-ui-dist/swagger-ui.css'
import { byId } from './dom'
import './docs.css'

SwaggerUI({
  url: 'openapi.json',
  dom_id: '#operations',
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  syntaxHighlight: { activated: false }, // an operation has many answers, and each would be coloured
  validatorUrl: null, // else the document would be shown to a server of theirs
  persistAuthorization: false, // a key is gone with the page
})

byId('within', HTMLPreElement).textContent = `${notice}\n${within}`
