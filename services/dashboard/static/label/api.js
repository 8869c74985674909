// Calls to the server: JSON in and out, and what a failure means for whoever waits.

const formKey = document.querySelector("meta[name=form-key]").content;

export class Failure extends Error {
  // `again`: the same call may succeed later; `status` 0: no answer came.
  constructor(status, message) {
    super(message);
    this.status = status;
    this.again = status === 0 || status === 401 || status === 429 || status >= 500;
  }
}

export async function call(path, body) {
  const post = { method: "POST", headers: { "content-type": "application/json", "x-form-key": formKey } };
  let answer;
  try {
    answer = await fetch(`/api/${path}`, body === undefined ? {} : { ...post, body: JSON.stringify(body) });
  } catch {
    throw new Failure(0, "The server cannot be reached.");
  }
  let found;
  try {
    found = await answer.json();
  } catch {
    throw new Failure(answer.ok ? 0 : answer.status, `The server answered with status ${answer.status}.`);
  }
  if (!answer.ok) throw new Failure(answer.status, found.error || `Status ${answer.status}.`);
  return found;
}

export async function bytes(path) {
  let answer;
  try {
    answer = await fetch(path);
  } catch {
    throw new Failure(0, "The server cannot be reached.");
  }
  if (!answer.ok) throw new Failure(answer.status, `An image of the question is missing (status ${answer.status}).`);
  return answer;
}
