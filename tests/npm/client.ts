// A client in TypeScript, whose types come from the description of the API. The test compiles it in strict mode and runs
// it: node client.js ADDRESS TOKEN
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

declare const process: { argv: string[] };
declare const console: { log(text: string): void };

const [base, token] = process.argv.slice(2);
const api = createClient<paths>({ baseUrl: base, headers: { authorization: `Bearer ${token}` } });
const path = { owner: "acme", repo: "secret" };

/** Reads all builds of a repository, page by page. */
async function builds(): Promise<components["schemas"]["Build"][]> {
  const all = [];
  let before: number | undefined;
  do {
    const { data, error } = await api.GET("/api/v1/repos/{owner}/{repo}/builds", {
      params: { path, query: { limit: 1, before } },
    });
    if (error) throw new Error(error.detail);
    all.push(...data.builds);
    before = data.next ?? undefined;
  } while (before !== undefined);
  return all;
}

const listed = await builds();
const { data: build } = await api.GET("/api/v1/repos/{owner}/{repo}/builds/{number}", {
  params: { path: { ...path, number: listed[0].number } },
});
const { error: missing } = await api.GET("/api/v1/repos/{owner}/{repo}/builds/{number}", {
  params: { path: { ...path, number: 99 } },
});
const cancel = () =>
  api.POST("/api/v1/repos/{owner}/{repo}/builds/{number}/cancel", {
    params: { path: { ...path, number: 2 }, header: { "Idempotency-Key": "typescript" } },
  });
const first = await cancel();
const again = await cancel();
const { data: queue } = await api.GET("/api/v1/queue");

console.log(
  JSON.stringify({
    builds: listed.map((one) => `${one.number} ${one.state}`),
    jobs: build?.jobs.map((job) => `${job.number} ${job.title} ${job.state}`),
    missing: missing && `${missing.status} ${missing.instance}`,
    canceled: [first.data?.canceled, again.data?.canceled, again.response.headers.get("idempotency-replayed")],
    queue: queue?.jobs.map((job) => `${job.place} ${job.repo} ${job.job} ${job.gpus}`),
  }),
);
