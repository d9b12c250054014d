// Names for what the theme's scripts leave nameless: the buttons that copy a block of code.
window.addEventListener("load", () => {
  const brought = document.getElementById("mls-words"), words = brought ? JSON.parse(brought.textContent) : {};
  const _ = (text) => words[text] || text;
  for (const button of document.querySelectorAll("button.copybtn")) button.setAttribute("aria-label", _("Copy this code"));
});
