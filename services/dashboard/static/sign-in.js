// A link carries its token after "#", which browsers send to no server: put it into the form and send that.
function enter() {
  const token = decodeURIComponent(location.hash.slice(1));
  if (!token) return;
  history.replaceState(null, "", location.pathname);
  const form = document.getElementById("sign-in");
  form.elements.token.value = token;
  form.submit();
}
enter();
addEventListener("hashchange", enter); // a link that is opened where this page is open already
