// A link carries its token after "#", which browsers send to no server: put it into the form and send that.
const token = decodeURIComponent(location.hash.slice(1));
if (token) {
  history.replaceState(null, "", location.pathname);
  const form = document.getElementById("sign-in");
  form.elements.token.value = token;
  form.submit();
}
