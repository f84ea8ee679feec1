// Runs the example of docs/client.md in Node: there, `fetch` and the address of the page's origin are missing.

import { pathToFileURL } from "node:url";

globalThis.location = new URL(process.env.GAMECLUSTER_ORIGIN);
await import(pathToFileURL(process.argv[2]));
