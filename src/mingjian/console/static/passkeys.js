// Passkeys: the browser asks a device, and what it answers is sent as a form. Without such devices the forms stay hidden.
const bytes = (text) =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (character) => character.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

const known = (list) => (list ?? []).map((each) => ({ ...each, id: bytes(each.id) }));

async function asked(form) {
  const answer = await fetch(form.dataset.begin, { method: "POST", headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error(answer.statusText);
  const { ticket, options } = await answer.json();
  options.challenge = bytes(options.challenge);
  if (form.dataset.passkey === "new") {
    options.user.id = bytes(options.user.id);
    options.excludeCredentials = known(options.excludeCredentials);
    return [ticket, await navigator.credentials.create({ publicKey: options })];
  }
  options.allowCredentials = known(options.allowCredentials);
  return [ticket, await navigator.credentials.get({ publicKey: options })];
}

function written(credential) {
  const { response } = credential;
  const found = { clientDataJSON: text(response.clientDataJSON) };
  for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (response[name]) found[name] = text(response[name]);
  }
  return JSON.stringify({ id: credential.id, rawId: text(credential.rawId), type: credential.type, response: found });
}

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-passkey]");
  if (!form) return;
  event.preventDefault();
  const told = form.querySelector("[data-problem]");
  told.hidden = true;
  try {
    const [ticket, credential] = await asked(form);
    form.elements.ticket.value = ticket;
    form.elements.answer.value = written(credential);
    form.submit();
  } catch {
    told.hidden = false;
  }
});

if (window.PublicKeyCredential && window.isSecureContext) {
  for (const form of document.querySelectorAll("form[data-passkey]")) form.hidden = false;
}
