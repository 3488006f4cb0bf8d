// Quicker tips than the browser's own, for pointers and for the keyboard. The page says everything without them.
(function () {
  "use strict";
  var tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true");
  document.body.appendChild(tip);

  // What a mark says stands in its title; it moves aside while the quicker tip shows, so that there are not two.
  document.querySelectorAll("svg.picture title").forEach(function (title) {
    title.parentNode.dataset.tip = title.textContent;
    title.remove();
  });
  document.querySelectorAll("[title]").forEach(function (element) {
    element.dataset.tip = element.getAttribute("title");
    element.removeAttribute("title");
  });

  function show(event) {
    var from = event.target.closest ? event.target.closest("[data-tip]") : null;
    tip.hidden = !from;
    if (!from) { return; }
    tip.textContent = from.dataset.tip;
    var room = document.documentElement.clientWidth - tip.offsetWidth - 8;
    tip.style.left = Math.max(8, Math.min(event.pageX + 14, window.scrollX + room)) + "px";
    tip.style.top = event.pageY + 16 + "px";
  }
  document.addEventListener("pointermove", show, { passive: true });
  document.addEventListener("pointerleave", function () { tip.hidden = true; });
  window.addEventListener("beforeprint", function () {
    tip.hidden = true;
    document.querySelectorAll("details").forEach(function (part) { part.open = true; });
  });
})();
