// What a reader would stumble over in a report, as a list of sentences. Run in the page.
// Settings: {print: bool}. On paper and on a wide screen tables must fit without scrolling.
(settings) => {
  "use strict";
  const mayScroll = !settings.print && innerWidth < 1000;
  const problems = [];
  const say = (what, element) => {
    const words = (element.getAttribute("aria-label") || element.textContent).trim();
    problems.push(`${what}: <${element.tagName.toLowerCase()}> "${words.replace(/\s+/g, " ").slice(0, 60)}"`);
  };
  const box = (element) => element.getBoundingClientRect();
  const shared = (a, b) => [
    Math.min(a.right, b.right) - Math.max(a.left, b.left),
    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top),
  ];
  const overlap = (a, b, slack) => Math.min(...shared(a, b)) > slack;

  // Colours: [r, g, b, alpha], luminance and contrast of WCAG 2.
  const parse = (color) => {
    const numbers = (color.match(/[\d.]+/g) || []).map(Number);
    return numbers.length < 3 ? null : [...numbers.slice(0, 3), numbers[3] ?? 1];
  };
  const luminance = (color) => {
    const [r, g, b] = color.slice(0, 3).map((c) => {
      const share = c / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => {
    const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color && color[3] === 1) return color;
    }
    return [255, 255, 255, 1];
  };
  const over = (color, opacity, back) =>
    color.slice(0, 3).map((c, i) => opacity * c + (1 - opacity) * back[i]);

  // Nothing is wider than what holds it.
  for (const element of document.querySelectorAll("main, main *")) {
    if (element.closest("svg, option") && element.tagName !== "svg") continue;
    if (mayScroll && element.parentElement.closest(".table, .wide, pre")) continue;
    if (!element.checkVisibility()) continue;
    const [inner, outer] = [box(element), box(element.parentElement)];
    if (inner.right > outer.right + 1 || inner.left < outer.left - 1) {
      say(`wider than its parent by ${Math.round(inner.right - outer.right)}`, element);
    }
  }
  if (document.documentElement.scrollWidth > innerWidth) problems.push("the page scrolls sideways");

  // Words: legible, and none upon another.
  const pieces = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || parent.closest("script, style, svg")) continue;
    if (!parent.checkVisibility({ contentVisibilityAuto: true })) continue;
    const style = getComputedStyle(parent);
    const ratio = contrast(parse(style.color), behind(parent));
    if (ratio < 4.5) say(`contrast ${ratio.toFixed(2)} of text`, parent);
    const range = document.createRange();
    range.selectNodeContents(walker.currentNode);
    const clip = parent.closest(".table, pre");
    for (const rect of range.getClientRects()) {
      if (clip && rect.left > box(clip).right) continue;
      const margin = 0.17 * rect.height; // of the line, above and below its letters
      pieces.push({ node: parent, left: rect.left, right: rect.right,
        top: rect.top + margin, bottom: rect.bottom - margin });
    }
  }
  for (const svg of document.querySelectorAll("main svg")) {
    if (!svg.checkVisibility({ contentVisibilityAuto: true })) continue;
    const page = behind(svg);
    const images = [...svg.querySelectorAll("image")].map(box);
    const words = [...svg.querySelectorAll("g.text")].filter((g) => box(g).width > 0);
    for (const group of words) {
      const at = box(group), frame = box(svg);
      if (at.left < frame.left - 1 || at.right > frame.right + 1 ||
          at.top < frame.top - 1 || at.bottom > frame.bottom + 1) say("cut text in figure", svg);
      pieces.push({ node: svg, left: at.left, right: at.right, top: at.top, bottom: at.bottom });
      if (images.some((image) => overlap(image, at, 0))) continue;
      const ink = parse(getComputedStyle(group.querySelector("use, path")).fill);
      const ratio = contrast(ink, page);
      if (ratio < 4.5) say(`contrast ${ratio.toFixed(2)} of text in figure`, svg);
    }

    // Legends beside the panels, never upon their curves.
    const panels = [...svg.querySelectorAll("g.axes > g.patch:first-child")];
    for (const legend of svg.querySelectorAll("g.legend")) {
      if (panels.some((panel) => overlap(box(panel), box(legend), 1))) say("legend upon data", svg);
    }

    // Data that is drawn in lines and marks; a faint area counts with its outline.
    const solid = new Set(), faint = new Set();
    const marks = "g.axes > g:not([class*=axis], .text, .patch, .legend) :is(path, use)";
    for (const mark of svg.querySelectorAll(`${marks}, g.axes > g.patch:not(:first-child) path`)) {
      if (mark.closest("defs, clipPath") || images.some((i) => overlap(i, box(mark), -1))) continue;
      const style = getComputedStyle(mark);
      const whole = Number(style.opacity);
      for (const [paint, opacity] of [[style.stroke, style.strokeOpacity], [style.fill, style.fillOpacity]]) {
        const color = parse(paint);
        if (!color) continue;
        const shown = over(color, whole * opacity, page);
        (contrast(shown, page) >= 3 ? solid : faint).add(color.slice(0, 3).join());
      }
    }
    for (const color of faint) {
      if (!solid.has(color)) say(`contrast below 3 of rgb(${color}) in figure`, svg);
    }
  }
  pieces.sort((a, b) => a.top - b.top);
  pieces.forEach((a, i) => {
    for (let j = i + 1; j < pieces.length && pieces[j].top < a.bottom; j++) {
      if (overlap(a, pieces[j], 1)) say(`text upon "${pieces[j].node.textContent.trim().slice(0, 30)}"`, a.node);
    }
  });

  // The first column stays in sight where a table scrolls.
  for (const table of settings.print ? [] : document.querySelectorAll(".table")) {
    table.scrollLeft = table.scrollWidth;
    const first = table.querySelector("tbody th");
    if (first && Math.abs(box(first).left - box(table).left) > 1) say("first column scrolls away", table);
    table.scrollLeft = 0;
  }

  // Links within the page, folded sections.
  for (const link of document.querySelectorAll('a[href^="#"]')) {
    if (!document.getElementById(link.hash.slice(1))) say("link to nowhere", link);
  }
  if (settings.print) {
    for (const folded of document.querySelectorAll("details:not([open])")) say("folded on paper", folded);
  }
  return [...new Set(problems)];
}
