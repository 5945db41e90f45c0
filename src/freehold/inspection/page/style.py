"""The page's style and its one script, both inline: the page asks no network for anything.

Room: inspection. Constants.
"""

from __future__ import annotations

__all__ = ["SCRIPT", "STYLE"]

STYLE = """
:root{color-scheme:light dark;--paper:#faf9f6;--card:#fff;--ink:#1c2126;--soft:#5d6770;
--line:#e3e0d8;--accent:#0f6e6e;--cold:#e4ecea;--hot:#b5341f;--danger:#b3261e;--warn:#9a6200;
--k0:#0f6e6e;--k1:#d08c2c;--k2:#6a4c93;--k3:#3a7ca5;--k4:#a23b58;--k5:#6b8f3c;--k6:#8a8f94;
--k7:#c9b458}
@media(prefers-color-scheme:dark){:root{--paper:#14171a;--card:#1c2125;--ink:#e6e8e9;
--soft:#9aa4ab;--line:#2e353a;--accent:#58c4bd;--cold:#26343a;--hot:#ff7a52;--danger:#ff8a80;
--warn:#f1b24a;--k0:#3fa9a3;--k1:#dfa650;--k2:#a288cc;--k3:#6aa9d0;--k4:#d3718c;--k5:#9bbd6b;
--k6:#80878d;--k7:#d9c776}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,
"Segoe UI",Roboto,"Helvetica Neue",sans-serif;-webkit-text-size-adjust:100%}
main,header,footer{max-width:1080px;margin:0 auto;padding:0 20px}
header{padding-top:44px}
h1{font-size:clamp(1.7rem,4.5vw,2.6rem);line-height:1.12;margin:0 0 6px;letter-spacing:-.02em;
overflow-wrap:anywhere;text-wrap:balance}
h2{font-size:1.25rem;margin:0 0 4px;letter-spacing:-.01em}
h3{font-size:.95rem;margin:22px 0 6px}
p{margin:.3em 0 .8em;max-width:70ch}
.lead,.note,figcaption,dt,th{color:var(--soft)}
.note{font-size:.88rem}
code,.mono,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.84em}
.digest{color:var(--soft);overflow-wrap:anywhere;font-size:.78rem;display:block}
nav{display:flex;gap:4px 16px;flex-wrap:wrap;margin:18px 0 0;padding:10px 0;font-size:.9rem;
border-top:1px solid var(--line)}
a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}
section{background:var(--card);border:1px solid var(--line);border-radius:14px;
padding:22px 24px;margin:18px 0;scroll-margin-top:12px}
dl.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(136px,1fr));gap:10px;
margin:20px 0 6px}
.cards div{background:var(--card);border:1px solid var(--line);border-radius:12px;
padding:11px 14px}
.cards dt{font-size:.76rem}.cards dd{margin:0;font-size:1.16rem;font-weight:600;
font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
svg{display:block;max-width:100%;overflow:visible}
.bar{width:100%;border-radius:6px}
.wide{overflow-x:auto;margin:6px 0}.heat{width:calc(var(--w)*1px);max-width:none;min-width:0}
@media(min-width:1080px){.heat{width:100%;max-width:calc(var(--w)*1.25px)}}
text{font-size:11px;fill:var(--soft);font-family:inherit}
.right{text-anchor:end}.middle{text-anchor:middle}
.k0{fill:var(--k0);background:var(--k0)}.k1{fill:var(--k1);background:var(--k1)}
.k2{fill:var(--k2);background:var(--k2)}.k3{fill:var(--k3);background:var(--k3)}
.k4{fill:var(--k4);background:var(--k4)}.k5{fill:var(--k5);background:var(--k5)}
.k6{fill:var(--k6);background:var(--k6)}.k7{fill:var(--k7);background:var(--k7)}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:.85rem;padding:0;margin:10px 0;
list-style:none}
.legend i,.key i{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:6px}
.scroll{overflow-x:auto;max-height:560px;overflow-y:auto;border:1px solid var(--line);
border-radius:10px;margin-top:10px}
table{border-collapse:collapse;width:100%;font-size:.86rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:5px 10px;border-bottom:1px solid var(--line);vertical-align:top}
.scroll th{position:sticky;top:0;background:var(--card);z-index:1}
th{font-weight:500;white-space:nowrap}th[data-sort]{cursor:pointer}
th[data-sort]:hover{color:var(--accent)}th.up::after{content:" \\2191"}
th.down::after{content:" \\2193"}
td.n,th.n{text-align:right;white-space:nowrap}td.name{overflow-wrap:anywhere;min-width:130px}
tr:last-child td{border-bottom:0}
.finding{display:grid;grid-template-columns:92px 1fr;gap:2px 12px;padding:10px 0;
border-top:1px solid var(--line)}
.finding p{margin:0;overflow-wrap:anywhere}
.danger .badge{color:var(--danger)}.warning .badge{color:var(--warn)}
.note .badge{color:var(--soft)}
.badge{font-weight:650;font-size:.86rem}
.clear{color:var(--accent);font-weight:600}
details>summary{cursor:pointer}
.tree details{margin-left:16px}.tree>details{margin-left:0}
.tree summary,.leaf{display:flex;gap:12px;align-items:baseline;padding:3px 0;font-size:.92rem}
.tree summary::before{content:"\\25B8";color:var(--soft);font-size:.7em;width:.9em;flex:none}
.tree details[open]>summary::before{content:"\\25BE"}
.leaf{margin-left:16px;padding-left:calc(.9em*.7 + 12px)}
.tree b{font-weight:600}.grow{flex:1;border-bottom:1px dotted var(--line)}
.tree .mono{color:var(--soft)}
.tabs input{position:absolute;opacity:0}
.tabs label{display:inline-block;padding:4px 13px;border:1px solid var(--line);
border-radius:99px;font-size:.86rem;cursor:pointer;margin:4px 6px 8px 0}
.tabs input:checked+label{background:var(--accent);border-color:var(--accent);color:var(--card)}
.tabs input:focus-visible+label{outline:2px solid var(--accent);outline-offset:2px}
.tabs .pane{display:none}
.tabs #t0:checked~.p0,.tabs #t1:checked~.p1,.tabs #t2:checked~.p2,.tabs #t3:checked~.p3
{display:block}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(220px,1fr));gap:14px}
.squares{grid-template-columns:repeat(auto-fill,minmax(118px,1fr))}
figure{margin:0}figcaption{font-size:.84rem;margin-bottom:2px}
.lines polyline{fill:none;stroke-width:1.1;opacity:.75}.lines polyline:hover{stroke-width:3;
opacity:1}.zero{stroke:var(--line);stroke-dasharray:2 3}
.curve{width:84px;height:22px}.curve path{fill:var(--accent);opacity:.75}
.chat{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--paper);border-radius:10px;
padding:12px 14px;border:1px solid var(--line);font-size:.84rem;margin:4px 0 16px}
.control{background:color-mix(in oklab,var(--accent) 16%,transparent);color:var(--accent);
border-radius:5px;padding:0 4px;font-weight:600}
.tok{border-radius:4px;padding:1px 1px;white-space:pre-wrap}
.tok:nth-child(odd){background:color-mix(in oklab,var(--accent) 20%,transparent)}
.tok:nth-child(even){background:color-mix(in oklab,var(--k1) 24%,transparent)}
.line{overflow-wrap:anywhere;line-height:1.9}
.lens td{padding:3px 5px;border:0;font-size:.8rem;text-align:center;max-width:96px;
overflow:hidden;text-overflow:ellipsis;white-space:pre}
.lens th{padding:3px 8px;position:sticky;left:0;background:var(--card)}
.lens span{display:block;border-radius:5px;padding:3px 5px;overflow:hidden;
text-overflow:ellipsis}
.square{width:100%;aspect-ratio:1}
.diff{white-space:pre-wrap;overflow-wrap:anywhere}
.del{color:var(--danger)}.ins{color:var(--accent)}
input[type=search]{font:inherit;font-size:.9rem;padding:6px 12px;border:1px solid var(--line);
border-radius:99px;background:var(--paper);color:var(--ink);width:min(320px,100%)}
footer{color:var(--soft);font-size:.84rem;padding-bottom:44px}
@media(max-width:640px){section{padding:18px 15px;border-radius:12px}
main,header,footer{padding-left:13px;padding-right:13px}header{padding-top:26px}
.finding{grid-template-columns:1fr}.tree .mono.shape{display:none}}
@media print{nav,input[type=search]{display:none}section{break-inside:avoid}
.scroll{max-height:none}}
"""

SCRIPT = """
document.querySelectorAll('th[data-sort]').forEach(function(head){
  head.addEventListener('click',function(){
    var table=head.closest('table'),body=table.tBodies[0];
    var at=Array.prototype.indexOf.call(head.parentNode.children,head);
    var up=!head.classList.contains('up');
    head.parentNode.querySelectorAll('th').forEach(function(h){h.classList.remove('up','down')});
    head.classList.add(up?'up':'down');
    var key=function(row){var v=row.cells[at].dataset.v;
      if(v===undefined)v=row.cells[at].textContent;
      var n=parseFloat(v);return head.dataset.sort==='n'?(isNaN(n)?-Infinity:n):v};
    Array.prototype.slice.call(body.rows).sort(function(a,b){var x=key(a),y=key(b);
      var less=typeof x==='number'?x-y:x.localeCompare(y,undefined,{numeric:true});
      return up?less:-less}).forEach(function(row){body.appendChild(row)});
  });
});
document.querySelectorAll('input[type=search]').forEach(function(box){
  box.addEventListener('input',function(){
    var words=box.value.toLowerCase().split(/\\s+/);
    var rows=document.getElementById(box.dataset.of).tBodies[0].rows;
    Array.prototype.forEach.call(rows,function(row){
      var said=row.textContent.toLowerCase();
      row.hidden=!words.every(function(word){return said.indexOf(word)>=0});
    });
  });
});
"""
