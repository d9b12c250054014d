// Names for what the theme's scripts leave nameless: the buttons that copy a block of code.
window.addEventListener("load", () => {
  for (const button of document.querySelectorAll("button.copybtn")) button.setAttribute("aria-label", "Copy this code");
});
